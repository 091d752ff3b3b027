# What all finetunings of the study have in place of the data, schedule and
# hooks of configs/downstream/ucf101/finetune_ucf101.py. Lists, sizes and steps
# are filled in by studies/mini/miniature.py, which says what is left out.
preprocessor = dict(
    type='bimm_mm.ActionFromFrames',
    test_clips=2,  # chosen: of Table 9's 5, clips are short
    area_range=(0.5, 1.0),  # chosen: as in pretraining
    aspect_range=(3 / 4, 4 / 3),  # as VideoMAE
    flip_ratio=0.5,  # Table 9
)
clips = dict(
    type='VideoDataset',
    # Nothing is decoded: all frames are on the device.
    pipeline=[dict(type='bimm_mm.PackVideoNumber')],
)
train_dataloader = dict(
    num_workers=2,  # chosen: a sample is one number
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=clips,
)
# No validation: the fold's test clips are looked at once, by Runner.test.
test_dataloader = dict(
    batch_size=32,  # chosen
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**clips, test_mode=True),
)
test_cfg = dict()
test_evaluator = dict(type='AccMetric', metric_list=('top_k_accuracy',))

# chosen: from scratch the first blocks have nothing to keep, so that they
# learn as fast as the last; all else is the same as after pretraining.
scratch_layer_decay = 1.0

log_share = 1 / 50  # chosen
warmup_share = 0.05  # Table 9: 5 of 100 epochs
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False),
    dict(type='CosineAnnealingLR', eta_min_ratio=1e-3, by_epoch=False),
]
log_processor = dict(by_epoch=False)
default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # The last one counts; nothing is chosen on test clips.
    checkpoint=dict(type='CheckpointHook', by_epoch=False, max_keep_ckpts=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
custom_hooks = [
    dict(type='bimm_mm.LabelCheckHook'),
    dict(type='bimm_mm.StepSeedHook'),
    dict(type='bimm_mm.FiniteLossHook'),
]
