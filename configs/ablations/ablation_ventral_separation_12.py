# Stage 1 of "12" in Table 7d.
_base_ = '../bimm/pretrain_ventral_in1k.py'

model = dict(areas=[_base_.ventral.areas[-1]])
