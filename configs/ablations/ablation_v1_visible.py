# Ours, not the paper's: V1's decoder is purely per token and predicts the
# Gabor features of the visible patches. The joint stage alone differs.
_base_ = [
    '../_base_/models/bimm_base.py',
    '../_base_/datasets/ucf101_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/ablation_ucf101.py',
    '../_base_/default_runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=_base_.base_lr))

v1 = dict(_base_.v1, decoder=dict(_base_.v1.decoder, predict='visible'))
model = dict(
    ventral=dict(areas=[v1, *_base_.ventral.areas[1:]]),
    dorsal=dict(areas=[v1, *_base_.dorsal.areas[1:]]),
)
