# Ours, not the paper's: the dorsal patch embedding starts from scratch, not
# from the ventral one. The joint stage alone differs.
_base_ = '../_base_/ablation_ucf101.py'

model = dict(inflate_patch_embed=False)
