# OmniMAE with ViT-B on ImageNet-1K and Kinetics-400 (Girdhar et al., 2023);
# what is exact: see the model. No config of K400 is published: it has SSv2's
# settings but for the frames.
_base_ = [
    '../_base_/models/omnimae_base.py',
    '../_base_/datasets/in1k_k400_mixed.py',
    '../_base_/schedules/pretrain_omnimae.py',
    '../_base_/default_runtime.py',
]
