# MotionMAE with ViT-B on UCF101; what is exact: see the model.
_base_ = [
    '../_base_/models/motionmae_base.py',
    '../_base_/datasets/ucf101_clips.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

# chosen: as VideoMAE, with Table 8's warm-up, betas and weight decay
optim_wrapper = dict(optimizer=dict(lr=3e-4))
train_cfg = dict(by_epoch=True, max_epochs=2400)  # Table 10
