# Table 7d, "4-8-12": intermediate blocks end after 4, 8 and 12.
# Sec. 4.3: in both branches; chosen: in stage 1 as well, which is
# configs/ablations/ablation_ventral_separation_4_8_12.py.
_base_ = '../_base_/ablation_ucf101.py'

v1 = dict(_base_.v1, after_block=4)  # Table 7d
v2 = dict(_base_.v2, after_block=8)  # Table 7d
model = dict(
    ventral=dict(areas=[v1, v2, _base_.ventral.areas[-1]]),
    dorsal=dict(areas=[v1, v2, _base_.dorsal.areas[-1]]),
    share_blocks=v2['after_block'],  # Sec. 3.3: the first two intermediate
    ventral_checkpoint='work_dirs/ablation_ventral_separation_4_8_12/'
    'epoch_800.pth',
)
