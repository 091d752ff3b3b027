# Table 7f, "0.75": mask ratio of the dorsal branch.
_base_ = '../_base_/ablation_ucf101.py'

model = dict(dorsal=dict(masking=dict(ratio=0.75)))
