# Table 7a, "UCF101 Init": stage 1 is configs/bimm/pretrain_ventral_ucf101.py.
_base_ = [
    '../_base_/models/bimm_base.py',
    '../_base_/datasets/ucf101_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/ablation_ucf101.py',
    '../_base_/default_runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=_base_.base_lr))

model = dict(
    ventral_checkpoint='work_dirs/pretrain_ventral_ucf101/epoch_800.pth'
)
