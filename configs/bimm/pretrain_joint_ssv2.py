# Stage 2: both branches on SSv2 (Algorithm 1, lines 6-12).
_base_ = [
    '../_base_/models/bimm_base.py',
    '../_base_/datasets/ssv2_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

optim_wrapper = dict(optimizer=dict(lr=1.5e-4))  # Table 8, base lr
train_cfg = dict(by_epoch=True, max_epochs=800)  # Sec. A.2
