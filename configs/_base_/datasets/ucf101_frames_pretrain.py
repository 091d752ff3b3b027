# Ventral pretraining on frames of UCF101: "UCF101 Init" of Table 7a.
data_root = 'data/ucf101/videos'
ann_file = 'data/ucf101/ucf101_train_split_1_videos.txt'
# 'map': contours from files; 'sobel': computed on the device, no files.
contours = '{{$BIMM_CONTOURS:map}}'
contour_root = 'data/ucf101/contours' if contours == 'map' else None
size = 224  # Sec. A.1

train_pipeline = [
    dict(
        type='bimm_mm.SafeDecode',
        transforms=[
            # chosen: one thread, more of them can hang (decord issue 220)
            dict(type='DecordInit', num_threads=1),
            dict(
                type='SampleFrames',
                clip_len=1,  # an image: stage 1 sees no time
                frame_interval=1,
                out_of_bound_opt='repeat_last',  # chosen: as VideoMAE
            ),
            dict(
                type='bimm_mm.SnapToContourStride', contour_root=contour_root
            ),
            dict(type='DecordDecode'),
        ],
    ),
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
            # Table 8: random crop; chosen: area and bicubic as MAE
            dict(type='RandomResizedCrop', area_range=(0.2, 1.0)),
            dict(
                type='Resize',
                scale=(size, size),
                keep_ratio=False,
                interpolation='bicubic',
            ),
            # Table 8, IN-1K: no random flip
        ],
    ),
    dict(type='bimm_mm.PackClipInputs'),
]

train_dataloader = dict(
    batch_size=128,  # Table 8, IN-1K
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
