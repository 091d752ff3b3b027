# Table 7b, "Baseline": VideoMAE, for 1600 epochs on UCF101 (Sec. 4.3).
_base_ = [
    '../_base_/models/videomae_base.py',
    '../_base_/datasets/ucf101_clips.py',
    '../_base_/schedules/pretrain_videomae.py',
    '../_base_/default_runtime.py',
]

model = dict(masking=dict(ratio=0.75))  # VideoMAE's scripts for UCF101
optim_wrapper = dict(optimizer=dict(lr=3e-4))  # VideoMAE's scripts: base lr
train_cfg = dict(by_epoch=True, max_epochs=1600)  # Sec. 4.3
warmup, cosine = _base_.param_scheduler
cosine.update(eta_min_ratio=1 / 30)  # VideoMAE's scripts: 1e-5 of 3e-4
param_scheduler = [warmup, cosine]
