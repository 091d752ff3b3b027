# What the finetuning runs of Table 9 have in common. A config adds its base
# learning rate, layer-wise decay, batch size per GPU and number of epochs.
warmup_epochs = 5  # Table 9

optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='bfloat16',  # 'float16' for GPUs before Ampere
    optimizer=dict(
        type='AdamW',  # Table 9
        betas=(0.9, 0.999),  # Table 9
        weight_decay=0.05,  # Table 9
        fused=True,  # the same update in one pass over the memory
    ),
    constructor='bimm_mm.LayerDecay',
)

# lr = base lr x batch / 16 (Sec. A.1), read as the batch per GPU on 16 GPUs.
auto_scale_lr = dict(base_batch_size=256, enable=True)

# The runner fills in the end of the cosine from train_cfg.max_epochs.
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,  # chosen: VideoMAE's 1e-6 from 1e-3
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',  # Table 9
        begin=warmup_epochs,
        # chosen: VideoMAE's 1e-6 from 1e-3, a share of each level's own rate
        eta_min_ratio=1e-3,
        convert_to_iter_based=True,
    ),
]
