# BIMM's joint stage on UCF101 as the ablations have it, those of Table 7 and
# ours.
_base_ = [
    './models/bimm_base.py',
    './datasets/ucf101_pretrain.py',
    './schedules/pretrain.py',
    './default_runtime.py',
]

optim_wrapper = dict(optimizer=dict(lr=3e-4))  # Table 8, UCF
train_cfg = dict(by_epoch=True, max_epochs=800)  # Sec. 4.3
