# Finetuning on ImageNet-1K, with the augmentations of MAE but no flip.
data_root = 'data/imagenet'
size = 224  # Sec. A.1
# Of ImageNet in B, G, R, as OpenCV reads it; chosen: as MAE.
mean = [103.53, 116.28, 123.675]
std = [57.375, 57.12, 58.395]

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomResizedCrop',  # chosen: as MAE
        scale=size,
        backend='pillow',  # chosen: as MAE; OpenCV's bicubic has no filter
        interpolation='bicubic',  # chosen: as MAE
    ),
    # Table 9: no random flip
    # chosen: as MAE, in timm's words rand-m9-mstd0.5-inc1
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(
            pad_val=[round(value) for value in mean],
            interpolation='bicubic',
        ),
    ),
    dict(
        type='RandomErasing',  # chosen: as MAE
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=mean,
        fill_std=std,
    ),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='ResizeEdge',  # chosen: as MAE
        scale=256,
        edge='short',
        backend='pillow',
        interpolation='bicubic',
    ),
    dict(type='CenterCrop', crop_size=size),  # chosen: as MAE
    dict(type='PackInputs'),
]

total_batch_size = 128 * 8  # chosen: Table 9 on 8 GPUs, as LocalMIM
train_dataloader = dict(
    batch_size=128,  # Table 9
    num_workers=8,  # chosen: cores per GPU of a usual node
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,  # chosen: every step has the full batch
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='bimm_mm.EpochSampler', shuffle=True),
    dataset=dict(
        type='ImageNet',
        data_root=data_root,
        split='train',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=128,  # chosen: as for training
    num_workers=8,  # chosen: as for training
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ImageNet',
        data_root=data_root,
        split='val',
        pipeline=test_pipeline,
    ),
)
val_cfg = dict()
val_evaluator = dict(type='Accuracy', topk=(1, 5))  # Sec. A.1: top-1
test_dataloader = val_dataloader
test_cfg = dict()
test_evaluator = val_evaluator
