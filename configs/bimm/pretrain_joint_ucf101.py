# Stage 2: both branches on UCF101 (Algorithm 1, lines 6-12).
_base_ = [
    '../_base_/models/branches_base.py',
    '../_base_/datasets/ucf101_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='bimm_mm.BIMM',
    ventral=_base_.ventral,
    dorsal=_base_.dorsal,
    share_blocks=4,  # Sec. 3.3: the first two intermediate blocks
    dorsal_weight=1.0,  # Sec. 3.3: lambda of eq. 4
    ventral_checkpoint='work_dirs/pretrain_ventral_in1k/epoch_800.pth',
)
optim_wrapper = dict(optimizer=dict(lr=3e-4))  # Table 8, base lr
train_cfg = dict(by_epoch=True, max_epochs=1600)  # Sec. A.2
