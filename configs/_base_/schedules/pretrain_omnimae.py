# OmniMAE's schedule, all of it from its published config.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    dtype='bfloat16',  # float16 there
    optimizer=dict(
        type='AdamW',
        lr=1.6e-3,  # of 2048 crops
        betas=(0.9, 0.95),
        weight_decay=0.05,  # of the mask token as well
        fused=True,  # the same update in one pass over the memory
    ),
    paramwise_cfg=dict(flat_decay_mult=0.0),
)
auto_scale_lr = dict(base_batch_size=2048, enable=True)
train_cfg = dict(by_epoch=True, max_epochs=1600)  # Tables 1 and 2; 800 there
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6 / 1.6e-3,
        end=80,  # 5 %
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        begin=80,
        eta_min=0.0,
        convert_to_iter_based=True,
    ),
]
