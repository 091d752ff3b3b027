# Table 7d, "12": one intermediate block, hence pixels and motion only.
# Sec. 4.3: in both branches; chosen: in stage 1 as well, which is
# configs/ablations/ablation_ventral_separation_12.py.
_base_ = '../_base_/ablation_ucf101.py'

model = dict(
    ventral=dict(areas=[_base_.ventral.areas[-1]]),
    dorsal=dict(areas=[_base_.dorsal.areas[-1]]),
    # chosen: the last intermediate block is each branch's own in every row
    share_blocks=0,
    ventral_checkpoint='work_dirs/ablation_ventral_separation_12/'
    'epoch_800.pth',
)
