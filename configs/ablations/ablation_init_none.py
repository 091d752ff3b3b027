# Table 7a, "No Init": no stage 1.
# chosen: neither branch is initialized, since they share blocks 1 to 4.
_base_ = '../_base_/ablation_ucf101.py'

model = dict(ventral_checkpoint=None)
