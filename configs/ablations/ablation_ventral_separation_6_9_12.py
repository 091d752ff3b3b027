# Stage 1 of "6-9-12" in Table 7d.
_base_ = [
    '../_base_/models/bimm_base.py',
    '../_base_/datasets/in1k_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/ablation_in1k.py',
    '../_base_/default_runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=_base_.base_lr))

v1 = dict(_base_.v1, after_block=6)  # Table 7d
v2 = dict(_base_.v2, after_block=9)  # Table 7d
ventral = dict(_base_.ventral, areas=[v1, v2, _base_.ventral.areas[-1]])
model = dict(_delete_=True, type='bimm_mm.MaskedBranch', **ventral)
