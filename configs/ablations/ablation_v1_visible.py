# Ours, not the paper's: V1's decoder is purely per token and predicts the
# Gabor features of the visible patches. The joint stage alone differs.
_base_ = '../_base_/ablation_ucf101.py'

v1 = dict(_base_.v1, decoder=dict(_base_.v1.decoder, predict='visible'))
model = dict(
    ventral=dict(areas=[v1, *_base_.ventral.areas[1:]]),
    dorsal=dict(areas=[v1, *_base_.dorsal.areas[1:]]),
)
