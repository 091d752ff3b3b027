# Stage 1 on frames of UCF101, for "UCF101 Init" of Table 7a.
_base_ = [
    '../_base_/models/bimm_base.py',
    '../_base_/datasets/ucf101_frames_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

model = dict(_delete_=True, type='bimm_mm.MaskedBranch', **_base_.ventral)
optim_wrapper = dict(optimizer=dict(lr=2e-4))  # Table 8, IN-1K, base lr
train_cfg = dict(by_epoch=True, max_epochs=800)  # chosen: as on IN-1K
