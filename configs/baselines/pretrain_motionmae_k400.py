# MotionMAE with ViT-B on Kinetics-400; what is exact: see the model.
_base_ = [
    '../_base_/models/motionmae_base.py',
    '../_base_/datasets/k400_clips.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

frames = 32  # Table 1
model = dict(backbone=dict(num_frames=frames))
train_pipeline = _base_.train_pipeline
train_pipeline[0].transforms[1].update(clip_len=frames)
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
# chosen: as VideoMAE, with Table 8's warm-up, betas and weight decay
optim_wrapper = dict(optimizer=dict(lr=1.5e-4))
train_cfg = dict(by_epoch=True, max_epochs=1600)  # Table 1
