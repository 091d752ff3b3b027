# Batches of ImageNet-1K and of Kinetics-400 (OmniMAE).
size = 224  # as OmniMAE
crops = 4  # OmniMAE's code: crops of a video; an image gives one

image_pipeline = [
    dict(
        type='bimm_mm.SafeDecode',
        transforms=[dict(type='LoadImageFromFile')],
    ),
    dict(
        type='bimm_mm.RepeatCrops',
        num=1,
        transforms=[
            # OmniMAE's code: area, bicubic and flip
            dict(
                type='RandomResizedCrop',
                scale=size,
                crop_ratio_range=(0.2, 1.0),
                backend='pillow',
                interpolation='bicubic',
            ),
            dict(type='RandomFlip', prob=0.5),
            dict(type='bimm_mm.StillClip', num_frames=2),  # OmniMAE's code
        ],
    ),
    dict(type='bimm_mm.PackClipInputs'),
]
video_pipeline = [
    dict(
        type='bimm_mm.SafeDecode',
        transforms=[
            dict(type='bimm_mm.VideoInit'),
            dict(
                type='SampleFrames',
                clip_len=16,  # as OmniMAE: Table 1
                frame_interval=4,  # chosen: as VideoMAE
                out_of_bound_opt='repeat_last',  # chosen: as VideoMAE
            ),
            dict(type='bimm_mm.VideoDecode'),
        ],
    ),
    dict(type='Resize', scale=(-1, 256)),  # OmniMAE's code
    dict(
        type='bimm_mm.RepeatCrops',
        num=crops,
        transforms=[
            # OmniMAE's code: any area, bilinear, no flip
            dict(type='RandomResizedCrop', area_range=(0.08, 1.0)),
            dict(type='Resize', scale=(size, size), keep_ratio=False),
        ],
    ),
    dict(type='bimm_mm.PackClipInputs'),
]

images = dict(
    type='bimm_mm.ResilientDataset',
    dataset=dict(
        _scope_='mmpretrain',
        type='ImageNet',
        data_root='data/imagenet',
        split='train',
        pipeline=image_pipeline,
    ),
)
videos = dict(
    type='bimm_mm.ResilientDataset',
    dataset=dict(
        _scope_='mmaction',
        type='VideoDataset',
        ann_file='data/kinetics400/kinetics400_train_list_videos.txt',
        data_prefix=dict(video='data/kinetics400/videos_train'),
        pipeline=video_pipeline,
    ),
)
total_batch_size = 2048  # OmniMAE's code: crops
train_dataloader = dict(
    batch_size=32,  # OmniMAE's code: crops, 2048 in all on 64 GPUs
    num_workers=8,  # chosen: cores per GPU of a usual node
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='bimm_mm.EpochSampler', shuffle=True),
    # OmniMAE's code: an epoch is all images once, and a quarter of the videos
    # four times. Every step has the full batch.
    batch_sampler=dict(
        type='bimm_mm.MixedBatchSampler',
        crops=[1, crops],
        passes=[1, 1 / crops],
    ),
    dataset=dict(type='bimm_mm.MixedDataset', datasets=[images, videos]),
)
data_preprocessor = dict(
    type='bimm_mm.ClipDataPreprocessor',
    to_rgb=False,  # videos are read as R, G, B, and StillClip as well
)
