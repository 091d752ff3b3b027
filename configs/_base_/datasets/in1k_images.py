# ImageNet-1K, for methods that need no contours.
data_root = 'data/imagenet'
size = 224  # as MAE

train_pipeline = [
    dict(
        type='bimm_mm.SafeDecode',
        transforms=[dict(type='LoadImageFromFile')],
    ),
    dict(
        type='bimm_mm.RepeatCrops',
        num=1,  # as MAE's code
        transforms=[
            dict(
                type='RandomResizedCrop',  # as MAE
                scale=size,
                crop_ratio_range=(0.2, 1.0),  # as MAE's code
                backend='pillow',  # as MAE; OpenCV's bicubic has no filter
                interpolation='bicubic',  # as MAE's code
            ),
            dict(type='RandomFlip', prob=0.5),  # as MAE's code
        ],
    ),
    dict(type='bimm_mm.PackClipInputs'),
]

train_dataloader = dict(
    batch_size=64,  # as MAE: 4096 in all, here on 64 GPUs
    num_workers=8,  # chosen: cores per GPU of a usual node
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,  # chosen: every step has the full batch
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='bimm_mm.EpochSampler', shuffle=True),
    dataset=dict(
        type='bimm_mm.ResilientDataset',
        dataset=dict(
            _scope_='mmpretrain',
            type='ImageNet',
            data_root=data_root,
            split='train',
            pipeline=train_pipeline,
        ),
    ),
)
data_preprocessor = dict(
    type='bimm_mm.ClipDataPreprocessor',
    to_rgb=True,  # OpenCV gives B, G, R
)
