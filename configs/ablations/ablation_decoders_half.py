# Ours, not the paper's: the decoders see, and the losses score, a random half
# of the hidden tokens, as VideoMAE V2 does in cells. The joint stage alone
# differs.
_base_ = '../_base_/ablation_ucf101.py'

model = dict(ventral=dict(decoded=0.5), dorsal=dict(decoded=0.5))
