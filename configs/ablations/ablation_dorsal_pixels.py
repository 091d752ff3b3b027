# Ours, not the paper's: the dorsal branch predicts the pixels of its clip as
# well (V4), after the block of MT. Figures 5 and 6 show clips that the dorsal
# branch has reconstructed, for which Sec. 3.2 gives it no target.
# The joint stage alone differs.
_base_ = '../_base_/ablation_ucf101.py'

areas = [*_base_.dorsal.areas, _base_.ventral.areas[-1]]
model = dict(dorsal=dict(areas=areas))
