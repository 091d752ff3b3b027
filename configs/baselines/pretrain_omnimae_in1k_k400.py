# OmniMAE with ViT-B on ImageNet-1K and Kinetics-400 (Girdhar et al.,
# 2023); what is exact: see the model.
_base_ = [
    '../_base_/models/omnimae_base.py',
    '../_base_/datasets/in1k_k400_mixed.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

# chosen: warm-up, betas and weight decay as Table 8
optim_wrapper = dict(optimizer=dict(lr=1.6e-3))  # OmniMAE's code
auto_scale_lr = dict(base_batch_size=2048)  # chosen: lr is for so many files
train_cfg = dict(
    by_epoch=True,
    max_epochs=1600 // _base_.repeats,  # Table 1: 1600
)
