# MotionMAE with ViT-L on SSv2; what is exact: see the model.
_base_ = [
    '../_base_/models/motionmae_large.py',
    '../_base_/datasets/ssv2_clips.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

# chosen: as VideoMAE, with Table 8's warm-up, betas and weight decay
optim_wrapper = dict(optimizer=dict(lr=1.5e-4))
train_cfg = dict(by_epoch=True, max_epochs=2400)  # Table 2
