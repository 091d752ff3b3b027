# MAE with ViT-B on ImageNet-1K; what is exact: see the model.
# Warm-up, cosine, betas and weight decay are Table 8's, which are MAE's.
_base_ = [
    '../_base_/models/mae_base.py',
    '../_base_/datasets/in1k_images.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

optim_wrapper = dict(
    optimizer=dict(lr=1.5e-4),  # MAE: base lr
    paramwise_cfg=dict(custom_keys=dict(_delete_=True)),  # MAE: tokens decay
)
train_cfg = dict(by_epoch=True, max_epochs=1600)  # Table 5
