# Ours, not the paper's: V4's pixels are normalized per token and channel, as
# VideoMAE, so that no patch has a color of its own.
# The joint stage alone differs.
_base_ = '../_base_/ablation_ucf101.py'

v4 = dict(
    _base_.ventral.areas[-1],
    target=dict(type='bimm_mm.PixelTarget', norm='videomae'),
)
model = dict(ventral=dict(areas=[*_base_.ventral.areas[:-1], v4]))
