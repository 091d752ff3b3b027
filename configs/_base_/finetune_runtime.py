# What all downstream runs have in common. A config adds `default_scope`, the
# library whose runner, datasets, heads and metrics it uses.
# Workarounds for known bugs of the libraries, before these are imported.
custom_imports = dict(imports=['bimm_mm.compat'])

# For OpenMMLab's tools; those of this project use it anyway.
runner_type = 'bimm_mm.StrictRunner'
default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='bimm_mm.CheckpointHook',
        interval=1,
        max_keep_ckpts=2,
        save_best='auto',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
custom_hooks = [
    dict(type='bimm_mm.LabelCheckHook'),
    dict(type='bimm_mm.StepSeedHook'),
    dict(type='bimm_mm.FiniteLossHook'),
    # Training samples that cannot be decoded are replaced, and counted here.
    dict(type='bimm_mm.BadVideoHook', max_share=0.05),
]
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
log_level = 'INFO'
load_from = None  # of a finetuned model; pretrained weights are init_cfg's
resume = False
randomness = dict(seed=0)
