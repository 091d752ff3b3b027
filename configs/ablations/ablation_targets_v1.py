# Table 7c, "V1": Gabor features only, in the joint stage. Blocks 3 to 12 and
# the final norm get no gradient and keep what stage 1 has learnt.
_base_ = '../_base_/ablation_ucf101.py'

areas = [_base_.v1]
model = dict(ventral=dict(areas=areas), dorsal=dict(areas=areas))
