# Table 7a, "No Init": no stage 1.
# chosen: neither branch is initialized, since they share blocks 1 to 4.
_base_ = [
    '../_base_/models/bimm_base.py',
    '../_base_/datasets/ucf101_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/ablation_ucf101.py',
    '../_base_/default_runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=_base_.base_lr))

model = dict(ventral_checkpoint=None)
