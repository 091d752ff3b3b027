# What all pretraining runs of Table 8 have in common. A config adds its
# base learning rate, its batch size per GPU and its number of epochs.

optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='bfloat16',  # 'float16' for GPUs before Ampere
    optimizer=dict(
        type='AdamW',  # Table 8
        betas=(0.9, 0.95),  # Table 8
        weight_decay=0.05,  # Table 8
        fused=True,  # the same update in one pass over the memory
    ),
    # chosen: no decay for biases, norms and tokens, as VideoMAE. MAE's code
    # decays tokens, and so do the baselines that follow it.
    paramwise_cfg=dict(
        flat_decay_mult=0.0,
        custom_keys={
            'cls_token': dict(decay_mult=0.0),
            'mask_token': dict(decay_mult=0.0),
        },
        # Shared blocks are met twice, once in each branch.
        bypass_duplicate=True,
    ),
)

# lr = base lr x batch / 16 (Sec. A.1), read as the batch per GPU on 16 GPUs.
auto_scale_lr = dict(base_batch_size=256, enable=True)

# The runner fills in the end of the cosine from train_cfg.max_epochs.
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-4,  # chosen: from almost 0
        end=40,  # Table 8
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',  # Table 8
        begin=40,  # Table 8
        eta_min=0.0,  # chosen: as MAE
        convert_to_iter_based=True,
    ),
]
