# Table 7a, "UCF101 Init": stage 1 is configs/bimm/pretrain_ventral_ucf101.py.
_base_ = '../_base_/ablation_ucf101.py'

model = dict(
    ventral_checkpoint='work_dirs/pretrain_ventral_ucf101/epoch_800.pth'
)
