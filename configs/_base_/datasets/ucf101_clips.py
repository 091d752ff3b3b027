# UCF101, for methods that need no contours.
data_root = 'data/ucf101/videos'
ann_file = 'data/ucf101/ucf101_train_split_1_videos.txt'
size = 224  # as VideoMAE

train_pipeline = [
    dict(
        type='bimm_mm.SafeDecode',
        transforms=[
            # chosen: one thread, more of them can hang (decord issue 220)
            dict(type='DecordInit', num_threads=1),
            dict(
                type='SampleFrames',
                clip_len=16,  # as VideoMAE
                frame_interval=4,  # as VideoMAE's code
                out_of_bound_opt='repeat_last',  # as VideoMAE's code
            ),
            dict(type='DecordDecode'),
        ],
    ),
    # chosen: no crop is larger than the frame, see the class
    dict(type='bimm_mm.EnsureMinSize', size=size),
    dict(
        type='bimm_mm.RepeatCrops',
        num=1,  # as VideoMAE's code
        transforms=[
            dict(
                type='MultiScaleCrop',  # as VideoMAE's code, which never flips
                input_size=size,
                scales=(1, 0.875, 0.75, 0.66),
                max_wh_scale_gap=1,
                num_fixed_crops=13,
            ),
            dict(type='Resize', scale=(size, size), keep_ratio=False),
        ],
    ),
    dict(type='bimm_mm.PackClipInputs'),
]

train_dataloader = dict(
    batch_size=24,  # VideoMAE's code: 192 in all, here on 8 GPUs
    num_workers=8,  # chosen: cores per GPU of a usual node
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,  # chosen: every step has the full batch
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='bimm_mm.EpochSampler', shuffle=True),
    dataset=dict(
        type='bimm_mm.ResilientDataset',
        dataset=dict(
            # Unprefixed names above are mmaction2's; without the scope
            # RandomResizedCrop would be mmpretrain's, for images.
            _scope_='mmaction',
            type='VideoDataset',
            ann_file=ann_file,
            data_prefix=dict(video=data_root),
            pipeline=train_pipeline,
        ),
    ),
)
data_preprocessor = dict(
    type='bimm_mm.ClipDataPreprocessor',
    to_rgb=False,  # decord gives R, G, B
)
