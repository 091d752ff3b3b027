# Stage 1 at toy size, by tools/quickstart.sh: eight photographs, seen again
# and again as they are (no random crops), which the model learns by heart;
# two that are not trained on validate.
_base_ = [
    '../_base_/models/branches_toy.py',
    '../_base_/schedules/quickstart.py',
    '../_base_/default_runtime.py',
]
work_dir = 'work_dirs/quickstart/pretrain_ventral'
default_hooks = dict(
    # Validations and losses share the axis of steps.
    logger=dict(interval=10, log_metric_by_epoch=False),
    checkpoint=dict(interval=1, max_keep_ckpts=1),
)
custom_hooks = [*_base_.custom_hooks, dict(type='bimm_mm.FirstValHook')]

model = dict(type='bimm_mm.MaskedBranch', **_base_.ventral)
data_preprocessor = dict(type='bimm_mm.ClipDataPreprocessor', to_rgb=True)

data_root = 'work_dirs/quickstart/data'
contours = 'map'  # from files; 'sobel': on the device, see docs/contours.md
contour_root = 'work_dirs/quickstart/contours'
pipeline = [
    dict(
        type='bimm_mm.SafeDecode',
        transforms=[dict(type='LoadImageFromFile')],
    ),
    dict(
        type='bimm_mm.LoadContour',
        contour_root=contour_root,
        data_root=data_root,
        detector='sobel',  # chosen: needs no weights
    ),
    dict(type='Resize', scale=(_base_.size, _base_.size)),
    dict(type='bimm_mm.PackClipInputs'),
]
photos = dict(
    _scope_='mmpretrain',
    type='CustomDataset',
    data_root=f'{data_root}/photos',
    with_label=False,
    pipeline=pipeline,
)
held_out = dict(photos, data_root=f'{data_root}/photos_held_out')
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='bimm_mm.EpochSampler', shuffle=True),
    dataset=dict(
        type='bimm_mm.ResilientDataset',
        dataset=dict(type='RepeatDataset', dataset=photos, times=50),
    ),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(type='bimm_mm.ResilientDataset', dataset=held_out),
)
train_cfg = dict(by_epoch=True, max_epochs=7)
