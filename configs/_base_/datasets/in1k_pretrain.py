# Ventral pretraining on ImageNet-1K.
data_root = 'data/imagenet'
contours = 'map'  # from files; 'sobel': on the device, see docs/contours.md
contour_root = 'data/imagenet/contours'
size = 224  # Sec. A.1

train_pipeline = [
    dict(
        type='bimm_mm.SafeDecode',
        transforms=[dict(type='LoadImageFromFile')],
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
            dict(
                type='RandomResizedCrop',  # Table 8: random crop
                scale=size,
                crop_ratio_range=(0.2, 1.0),  # chosen: as MAE
                interpolation='bicubic',  # chosen: as MAE
            ),
            # Table 8: no random flip
        ],
    ),
    dict(type='bimm_mm.PackClipInputs'),
]

total_batch_size = 128 * 16  # Table 8 on 16 GPUs
train_dataloader = dict(
    batch_size=128,  # Table 8
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
