# A few hundred steps on a CPU, with a loss curve from step 0.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='AdamW',
        lr=1.5e-3,
        betas=(0.9, 0.95),
        weight_decay=0.05,
        fused=True,  # a tenth of a step this small is the optimizer
    ),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=20),
    dict(type='CosineAnnealingLR', begin=20, by_epoch=False),
]
val_cfg = dict()
val_evaluator = dict(type='bimm_mm.AreaLoss')
