# Ours, not the paper's: V1 has V2's decoder, a small transformer, and
# not "only few linear layers" (Sec. 3.1). The joint stage alone differs.
_base_ = '../_base_/ablation_ucf101.py'

v1 = dict(_base_.v1, decoder=_base_.v2.decoder)
model = dict(
    ventral=dict(areas=[v1, *_base_.ventral.areas[1:]]),
    dorsal=dict(areas=[v1, *_base_.dorsal.areas[1:]]),
)
