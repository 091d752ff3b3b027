# What all pretrainings of the study have in place of their released config's
# data, schedule and hooks. Lists, sizes and steps are filled in by
# studies/mini/miniature.py, which says what stays as released.
data_preprocessor = dict(
    type='bimm_mm.StimulusFromFrames',
    area_range=(0.5, 1.0),  # chosen: of a small picture not too little
    aspect_range=(3 / 4, 4 / 3),  # as RandomResizedCrop's default
    flip_ratio=0.5,  # Table 8
)
clips = dict(
    # Without the scope VideoDataset would be looked for in mmpretrain.
    _scope_='mmaction',
    type='VideoDataset',
    # Nothing is decoded: all frames are on the device.
    pipeline=[dict(type='bimm_mm.PackVideoNumber', label=False)],
)
train_dataloader = dict(
    num_workers=2,  # chosen: a sample is one number
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    # chosen: full batches from sets not much larger than one
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=clips,
)
# Some of the same clips, always the same, without augmentation: the curve of
# every area relative to predicting the mean.
watched_clips = 64  # chosen: one batch
val_dataloader = dict(
    batch_size=watched_clips,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=clips,
)
val_cfg = dict()
val_evaluator = dict(type='bimm_mm.AreaLoss')

# Steps between two of each, as a share of all steps.
val_share = 1 / 50  # chosen: points of a curve
log_share = 1 / 100  # chosen
checkpoint_share = 1 / 10  # chosen: what an interruption can cost
diagnosis_share = 1 / 4  # chosen
diagnosis = dict(type='bimm_mm.DiagnosisHook', batch_size=8)
knn = 5  # chosen: neighbors, fewer than the clips of a class

warmup_share = 0.05  # Table 8 and Sec. 4.3: 40 of 800 epochs
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=False),
]
log_processor = dict(by_epoch=False)
default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    # Validations and losses share the axis of steps.
    logger=dict(type='LoggerHook', log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, max_keep_ckpts=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
custom_hooks = [
    dict(type='bimm_mm.StepSeedHook'),
    dict(type='bimm_mm.FiniteLossHook'),
    dict(type='bimm_mm.FirstValHook'),
]
