# Table 7e, "No sharing".
_base_ = '../_base_/ablation_ucf101.py'

model = dict(share_blocks=0)
