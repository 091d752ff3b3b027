# The default row of all six parts of Table 7: BIMM as on UCF101 in the main
# results, for 800 epochs.
_base_ = [
    '../_base_/models/bimm_base.py',
    '../_base_/datasets/ucf101_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/ablation_ucf101.py',
    '../_base_/default_runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=_base_.base_lr))
