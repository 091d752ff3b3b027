# Table 7b, "BIMM-Dorsal": the dorsal branch alone, from scratch.
_base_ = '../_base_/ablation_ucf101.py'

model = dict(_delete_=True, type='bimm_mm.MaskedBranch', **_base_.dorsal)
