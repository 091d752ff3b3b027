# VideoMAE with ViT-B on SSv2; what is exact: see the model.
# Warm-up, betas and weight decay are Table 8's, which are VideoMAE's.
_base_ = [
    '../_base_/models/videomae_base.py',
    '../_base_/datasets/ssv2_clips.py',
    '../_base_/schedules/pretrain_videomae.py',
    '../_base_/default_runtime.py',
]

optim_wrapper = dict(optimizer=dict(lr=1.5e-4))  # VideoMAE: base lr
train_cfg = dict(by_epoch=True, max_epochs=2400)  # Table 2
