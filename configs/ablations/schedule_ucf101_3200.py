# Figure 3, UCF101: a longer schedule than the 1600 epochs of the main results.
_base_ = [
    '../_base_/models/bimm_base.py',
    '../_base_/datasets/ucf101_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

optim_wrapper = dict(optimizer=dict(lr=3e-4))  # Table 8, base lr
train_cfg = dict(by_epoch=True, max_epochs=3200)  # chosen: twice Sec. A.2
