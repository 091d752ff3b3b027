# Ours, not the paper's: V4's pixels are normalized per token over all its
# values, as MAE.
# The joint stage alone differs.
_base_ = [
    '../_base_/models/bimm_base.py',
    '../_base_/datasets/ucf101_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/ablation_ucf101.py',
    '../_base_/default_runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=_base_.base_lr))

v4 = dict(
    _base_.ventral.areas[-1],
    target=dict(type='bimm_mm.PixelTarget', norm='mae'),
)
model = dict(ventral=dict(areas=[*_base_.ventral.areas[:-1], v4]))
