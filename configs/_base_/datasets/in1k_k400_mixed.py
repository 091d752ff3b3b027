# Batches of ImageNet-1K and of Kinetics-400 in turn (OmniMAE).
size = 224  # as OmniMAE
batch_size = 16  # chosen: files, each of which gives `repeats` crops
repeats = 4  # OmniMAE's code

image_pipeline = [
    dict(
        type='bimm_mm.SafeDecode',
        transforms=[dict(type='LoadImageFromFile')],
    ),
    dict(
        type='bimm_mm.RepeatCrops',
        num=repeats,
        transforms=[
            dict(
                type='RandomResizedCrop',
                scale=size,
                crop_ratio_range=(0.2, 1.0),  # chosen: as MAE
                backend='pillow',  # chosen: as MAE
                interpolation='bicubic',  # chosen: as MAE
            ),
            dict(type='RandomFlip', prob=0.5),  # chosen: as MAE
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
    dict(
        type='bimm_mm.RepeatCrops',
        num=repeats,
        transforms=[
            # chosen: area, bicubic and flip as for images
            dict(type='RandomResizedCrop', area_range=(0.2, 1.0)),
            dict(
                type='Resize',
                scale=(size, size),
                keep_ratio=False,
                interpolation='bicubic',
            ),
            dict(type='Flip', flip_ratio=0.5),
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
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=8,  # chosen: cores per GPU of a usual node
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,  # chosen: every step has the full batch
    collate_fn=dict(type='default_collate'),
    # As long as the videos last, so many batches of images.
    sampler=dict(type='bimm_mm.AlternatingSampler', batch_size=batch_size),
    dataset=dict(type='bimm_mm.MixedDataset', datasets=[images, videos]),
)
data_preprocessor = dict(
    type='bimm_mm.ClipDataPreprocessor',
    to_rgb=False,  # videos are read as R, G, B, and StillClip as well
)
