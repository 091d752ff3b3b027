# VideoMAE with ViT-B on UCF101; what is exact: see the model.
# Warm-up, betas and weight decay are Table 8's, which are VideoMAE's.
_base_ = [
    '../_base_/models/videomae_base.py',
    '../_base_/datasets/ucf101_clips.py',
    '../_base_/schedules/pretrain_videomae.py',
    '../_base_/default_runtime.py',
]

model = dict(masking=dict(ratio=0.75))  # VideoMAE's scripts for UCF101
optim_wrapper = dict(optimizer=dict(lr=3e-4))  # VideoMAE's scripts: base lr
train_cfg = dict(by_epoch=True, max_epochs=3200)  # Table 10
warmup, cosine = _base_.param_scheduler
cosine.update(eta_min_ratio=1 / 30)  # VideoMAE's scripts: 1e-5 of 3e-4
param_scheduler = [warmup, cosine]
