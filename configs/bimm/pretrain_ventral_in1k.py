# Stage 1: the ventral branch alone on ImageNet-1K (Algorithm 1, lines 1-5).
_base_ = [
    '../_base_/models/bimm_base.py',
    '../_base_/datasets/in1k_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

model = dict(_delete_=True, type='bimm_mm.MaskedBranch', **_base_.ventral)
optim_wrapper = dict(optimizer=dict(lr=2e-4))  # Table 8, base lr
train_cfg = dict(by_epoch=True, max_epochs=800)  # Sec. A.1
