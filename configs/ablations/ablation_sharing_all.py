# Table 7e, "All Sharing": "all parameters of the Transformer blocks". Patch
# embeddings, class tokens and final norms stay each branch's own.
_base_ = '../_base_/ablation_ucf101.py'

model = dict(share_blocks=12)
