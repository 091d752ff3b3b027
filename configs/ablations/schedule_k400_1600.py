# Figure 3, K400: a longer schedule than the 800 epochs of the main results.
_base_ = [
    '../_base_/models/bimm_base.py',
    '../_base_/datasets/k400_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

optim_wrapper = dict(optimizer=dict(lr=1.5e-4))  # Table 8, base lr
train_cfg = dict(by_epoch=True, max_epochs=1600)  # chosen: twice Sec. A.2
