# Table 7e, "All Sharing": "all parameters of the Transformer blocks". Patch
# embeddings, class tokens and final norms stay each branch's own.
_base_ = [
    '../_base_/models/bimm_base.py',
    '../_base_/datasets/ucf101_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/ablation_ucf101.py',
    '../_base_/default_runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=_base_.base_lr))

model = dict(share_blocks=12)
