# Finetuning on UCF101, split 1.
num_classes = 101
data_root = 'data/ucf101/videos'
ann_file_train = 'data/ucf101/ucf101_train_split_1_videos.txt'
ann_file_val = 'data/ucf101/ucf101_val_split_1_videos.txt'
size = 224  # chosen: as in pretraining (Sec. A.1)
mean = [123.675, 116.28, 103.53]  # R, G, B of ImageNet, as in pretraining
std = [58.395, 57.12, 57.375]

pack = [
    dict(type='FormatShape', input_format='NCTHW'),
    # The file's name is for those hooks that name samples.
    dict(type='PackActionInputs', meta_keys=('filename', 'img_shape')),
]
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
            dict(type='bimm_mm.VideoDecode'),
        ],
    ),
    dict(
        type='bimm_mm.RepeatCrops',
        num=2,  # Table 9: repeated augmentation
        transforms=[
            # chosen: rand-m7-n4-mstd0.5-inc1, as VideoMAE
            dict(
                type='bimm_mm.PerClip',
                transform=dict(
                    _scope_='mmpretrain',
                    type='RandAugment',
                    policies='timm_increasing',
                    num_policies=4,
                    magnitude_level=7,
                    magnitude_std=0.5,
                    hparams=dict(pad_val=128, interpolation='bicubic'),
                ),
            ),
            # chosen: area and aspect ratio as VideoMAE
            dict(
                type='RandomResizedCrop',
                area_range=(0.08, 1.0),
                aspect_ratio_range=(3 / 4, 4 / 3),
            ),
            dict(type='Resize', scale=(size, size), keep_ratio=False),
            dict(type='Flip', flip_ratio=0.5),  # Table 9
            # chosen: normal noise in a box, as VideoMAE
            dict(
                type='RandomErasing',
                erase_prob=0.25,
                mode='rand',
                min_area_ratio=0.02,
                max_area_ratio=1 / 3,
                fill_color=mean,
                fill_std=std,
            ),
            *pack,
        ],
    ),
]
val_pipeline = [
    dict(
        type='bimm_mm.SafeDecode',
        transforms=[
            dict(type='bimm_mm.VideoInit'),
            dict(
                type='SampleFrames',
                clip_len=16,
                frame_interval=4,
                num_clips=1,  # chosen: enough for the course of training
                out_of_bound_opt='repeat_last',
                test_mode=True,
            ),
            dict(type='bimm_mm.VideoDecode'),
        ],
    ),
    dict(type='Resize', scale=(-1, size)),
    dict(type='CenterCrop', crop_size=size),
    *pack,
]
test_pipeline = [
    dict(
        type='bimm_mm.SafeDecode',
        transforms=[
            dict(type='bimm_mm.VideoInit'),
            dict(
                type='SampleFrames',
                clip_len=16,
                frame_interval=4,
                num_clips=5,  # Table 9
                out_of_bound_opt='repeat_last',
                test_mode=True,
            ),
            dict(type='bimm_mm.VideoDecode'),
        ],
    ),
    dict(type='Resize', scale=(-1, size)),
    dict(type='ThreeCrop', crop_size=size),  # Table 9: 3 crops
    *pack,
]

total_batch_size = 32 * 16  # Table 9 on 16 GPUs
train_dataloader = dict(
    batch_size=32,  # Table 9; videos, each of which gives two clips
    num_workers=8,  # chosen: cores per GPU of a usual node
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,  # chosen: every step has the full batch
    collate_fn=dict(type='repeat_pseudo_collate'),
    sampler=dict(type='bimm_mm.EpochSampler', shuffle=True),
    dataset=dict(
        type='bimm_mm.ResilientDataset',
        dataset=dict(
            type='VideoDataset',
            ann_file=ann_file_train,
            data_prefix=dict(video=data_root),
            pipeline=train_pipeline,
        ),
    ),
)
val_dataloader = dict(
    batch_size=16,  # chosen: as many clips as half of a training batch
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='VideoDataset',
        ann_file=ann_file_val,
        data_prefix=dict(video=data_root),
        pipeline=val_pipeline,
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=1,  # chosen: one video is 15 clips
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='VideoDataset',
        ann_file=ann_file_val,
        data_prefix=dict(video=data_root),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_cfg = dict()
val_evaluator = dict(type='AccMetric')
test_cfg = dict()
test_evaluator = dict(type='AccMetric')

# model.data_preprocessor of the config.
preprocessor = dict(
    type='ActionDataPreprocessor',
    mean=mean,
    std=std,
    format_shape='NCTHW',
    # chosen: mixup or cutmix, each in half of the batches, as VideoMAE
    blending=dict(
        type='RandomBatchAugment',
        augments=[
            dict(
                type='MixupBlending',
                alpha=0.8,  # Table 9
                num_classes=num_classes,
            ),
            dict(
                type='CutmixBlending',
                alpha=1.0,  # Table 9
                num_classes=num_classes,
            ),
        ],
    ),
)
