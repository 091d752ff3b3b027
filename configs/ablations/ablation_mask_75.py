# Table 7f, "0.75": mask ratio of the dorsal branch.
_base_ = [
    '../_base_/models/bimm_base.py',
    '../_base_/datasets/ucf101_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/ablation_ucf101.py',
    '../_base_/default_runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=_base_.base_lr))

model = dict(dorsal=dict(masking=dict(ratio=0.75)))
