# Stage 2 with ViT-L: both branches on SSv2 (Algorithm 1, lines 6-12).
_base_ = [
    '../_base_/models/branches_large.py',
    '../_base_/datasets/ssv2_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='bimm_mm.BIMM',
    ventral=_base_.ventral,
    dorsal=_base_.dorsal,
    share_blocks=8,  # Sec. 3.3: the first two intermediate blocks
    dorsal_weight=1.0,  # Sec. 3.3: lambda of eq. 4
    ventral_checkpoint='work_dirs/pretrain_ventral_large_in1k/epoch_800.pth',
)
optim_wrapper = dict(optimizer=dict(lr=1.5e-4))  # Table 8, base lr
train_cfg = dict(by_epoch=True, max_epochs=800)  # Sec. A.2
