# Stage 2 at toy size, by tools/quickstart.sh: eight clips of 8 frames, seen
# again and again as they are (no random crops or offsets), which the model
# learns by heart; two that are not trained on validate.
_base_ = [
    '../_base_/models/branches_toy.py',
    '../_base_/schedules/quickstart.py',
    '../_base_/default_runtime.py',
]
work_dir = 'work_dirs/quickstart/pretrain_joint'
default_hooks = dict(
    # Validations and losses share the axis of steps.
    logger=dict(interval=10, log_metric_by_epoch=False),
    checkpoint=dict(interval=1, max_keep_ckpts=1),
)
custom_hooks = [*_base_.custom_hooks, dict(type='bimm_mm.FirstValHook')]

model = dict(
    type='bimm_mm.BIMM',
    ventral=_base_.ventral,
    dorsal=_base_.dorsal,
    share_blocks=4,
    dorsal_weight=1.0,
    ventral_checkpoint='work_dirs/quickstart/pretrain_ventral/epoch_7.pth',
)
data_preprocessor = dict(type='bimm_mm.ClipDataPreprocessor')

data_root = 'work_dirs/quickstart/data'
# From files, which tools/quickstart.sh makes with Sobel's filter (SAM needs
# weights of 375 MB and more); 'sobel': on the device, no files.
contours = 'map'
contour_root = 'work_dirs/quickstart/contours'
pipeline = [
    dict(
        type='bimm_mm.SafeDecode',
        transforms=[
            dict(type='bimm_mm.VideoInit'),
            # test_mode: the middle frames, always the same.
            dict(
                type='SampleFrames',
                clip_len=8,
                frame_interval=4,
                test_mode=True,
            ),
            dict(
                type='bimm_mm.SnapToContourStride', contour_root=contour_root
            ),
            dict(type='bimm_mm.VideoDecode'),
        ],
    ),
    dict(
        type='bimm_mm.LoadContour',
        contour_root=contour_root,
        data_root=data_root,
        detector='sobel',  # chosen: needs no weights
    ),
    dict(type='Resize', scale=(_base_.size, _base_.size), keep_ratio=False),
    dict(type='bimm_mm.PackClipInputs'),
]
clips = dict(
    _scope_='mmaction',
    type='VideoDataset',
    ann_file=f'{data_root}/clips.txt',
    data_prefix=dict(video=f'{data_root}/clips'),
    pipeline=pipeline,
)
held_out = dict(clips, ann_file=f'{data_root}/held_out.txt')
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='bimm_mm.EpochSampler', shuffle=True),
    dataset=dict(
        type='bimm_mm.ResilientDataset',
        dataset=dict(type='RepeatDataset', dataset=clips, times=50),
    ),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(type='bimm_mm.ResilientDataset', dataset=held_out),
)
train_cfg = dict(by_epoch=True, max_epochs=5)
