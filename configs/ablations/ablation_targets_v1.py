# Table 7c, "V1": Gabor features only, in the joint stage. Blocks 3 to 12 and
# the final norm get no gradient and keep what stage 1 has learnt.
_base_ = [
    '../_base_/models/bimm_base.py',
    '../_base_/datasets/ucf101_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/ablation_ucf101.py',
    '../_base_/default_runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=_base_.base_lr))

areas = [_base_.v1]
model = dict(ventral=dict(areas=areas), dorsal=dict(areas=areas))
