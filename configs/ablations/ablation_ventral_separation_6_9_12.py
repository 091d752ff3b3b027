# Stage 1 of "6-9-12" in Table 7d.
_base_ = '../bimm/pretrain_ventral_in1k.py'

v1 = dict(_base_.v1, after_block=6)  # Table 7d
v2 = dict(_base_.v2, after_block=9)  # Table 7d
model = dict(areas=[v1, v2, _base_.ventral.areas[-1]])
