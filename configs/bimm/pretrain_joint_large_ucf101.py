# Stage 2 with ViT-L: both branches on UCF101 (Algorithm 1, lines 6-12).
_base_ = [
    '../_base_/models/bimm_large.py',
    '../_base_/datasets/ucf101_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

optim_wrapper = dict(optimizer=dict(lr=3e-4))  # Table 8, base lr
train_cfg = dict(by_epoch=True, max_epochs=1600)  # Sec. A.2
