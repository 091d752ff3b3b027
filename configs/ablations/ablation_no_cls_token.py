# Ours, not the paper's: no class token in the joint stage; finetuning averages
# the tokens: model.backbone.with_cls_token=False model.backbone.out_type=avg.
_base_ = '../_base_/ablation_ucf101.py'

backbone = dict(with_cls_token=False, out_type='avg')
model = dict(ventral=dict(backbone=backbone), dorsal=dict(backbone=backbone))
