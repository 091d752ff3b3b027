# Figure 3, K400: VideoMAE's longer schedule, that of its own paper.
_base_ = [
    '../_base_/models/videomae_base.py',
    '../_base_/datasets/k400_clips.py',
    '../_base_/schedules/pretrain_videomae.py',
    '../_base_/default_runtime.py',
]

optim_wrapper = dict(optimizer=dict(lr=1.5e-4))  # VideoMAE: base lr
train_cfg = dict(by_epoch=True, max_epochs=1600)  # VideoMAE, K400
