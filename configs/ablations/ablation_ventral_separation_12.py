# Stage 1 of "12" in Table 7d.
_base_ = [
    '../_base_/models/bimm_base.py',
    '../_base_/datasets/in1k_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/ablation_in1k.py',
    '../_base_/default_runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=_base_.base_lr))

ventral = dict(_base_.ventral, areas=[_base_.ventral.areas[-1]])
model = dict(_delete_=True, type='bimm_mm.MaskedBranch', **ventral)
