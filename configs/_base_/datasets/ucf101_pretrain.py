# Joint pretraining on UCF101.
data_root = 'data/ucf101/videos'
ann_file = 'data/ucf101/ucf101_train_split_1_videos.txt'
contours = 'map'  # from files; 'sobel': on the device, see docs/contours.md
contour_root = 'data/ucf101/contours'
size = 224  # Sec. A.1

train_pipeline = [
    dict(
        type='bimm_mm.SafeDecode',
        transforms=[
            dict(type='bimm_mm.VideoInit'),
            dict(
                type='SampleFrames',
                clip_len=16,  # Sec. A.2
                frame_interval=4,  # Sec. A.2
                out_of_bound_opt='repeat_last',  # chosen: as VideoMAE
            ),
            dict(
                type='bimm_mm.SnapToContourStride', contour_root=contour_root
            ),
            dict(type='bimm_mm.VideoDecode'),
        ],
    ),
    # chosen: no crop is larger than the frame, see the class
    dict(type='bimm_mm.EnsureMinSize', size=size),
    dict(
        type='bimm_mm.LoadContour',
        contour_root=contour_root,
        data_root=data_root,
        detector='sam',  # Sec. 3.2; footnote 3: others too
    ),
    dict(
        type='bimm_mm.RepeatCrops',
        num=1,  # chosen: Table 8 has no repeated augmentation
        transforms=[
            dict(
                type='MultiScaleCrop',  # Table 8: random crop, as VideoMAE
                input_size=size,
                scales=(1, 0.875, 0.75, 0.66),
                max_wh_scale_gap=1,
                num_fixed_crops=13,
            ),
            dict(type='Resize', scale=(size, size), keep_ratio=False),
            dict(type='Flip', flip_ratio=0.5),  # Table 8
        ],
    ),
    dict(type='bimm_mm.PackClipInputs'),
]

total_batch_size = 64 * 16  # Table 8 on 16 GPUs
train_dataloader = dict(
    batch_size=64,  # Table 8
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
    to_rgb=False,  # videos are read as R, G, B
)
