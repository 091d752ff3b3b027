# The root of the registries: types of other libraries are named with their
# scope, so that no library is imported which a run does not need.
default_scope = 'mmengine'
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
        type='bimm_mm.CheckpointHook', interval=20, max_keep_ckpts=3
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
custom_hooks = [
    # Every step's randomness follows from (seed, rank, step): resuming gives
    # the losses of a run that was never interrupted.
    dict(type='bimm_mm.StepSeedHook'),
    dict(type='bimm_mm.FiniteLossHook'),
    dict(type='bimm_mm.BadVideoHook', max_share=0.05),
]
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
# tools/train.py --log-to adds TensorBoard or Weights & Biases.
visualizer = dict(
    type='Visualizer',
    vis_backends=[dict(type='LocalVisBackend')],
)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)
