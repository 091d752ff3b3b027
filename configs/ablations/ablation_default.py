# The default row of all six parts of Table 7: BIMM as on UCF101 in the main
# results, for 800 epochs.
_base_ = '../_base_/ablation_ucf101.py'
