# COCO detection and instance segmentation: Mask R-CNN on the ventral branch.
# Sec. A.1 gives schedule and optimizer; the rest follows ViTDet, "Exploring
# Plain Vision Transformer Backbones for Object Detection" (Li et al., 2022).
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '../../_base_/schedules/finetune.py',
    '../../_base_/finetune_runtime.py',
]
default_scope = 'mmdet'
image_size = 1024  # chosen: as ViTDet
embed_dims = 768  # of ViT-B (Sec. A.1)

model = dict(
    data_preprocessor=dict(
        # Images are at most this large; padded to it, all are one square.
        pad_size_divisor=image_size,
    ),
    backbone=dict(
        _delete_=True,
        type='bimm_mm.BIMMVisionTransformer',
        arch='base',  # Sec. A.1
        img_size=image_size,
        interpolate_from=224,  # chosen: as Sec. A.1 has it for ADE20K
        with_cls_token=False,  # no window is its own
        # chosen: ViTDet's 14 pads the 64 x 64 tokens to 70 x 70, and padding
        # needs a mask, which the fastest attention kernels do not take
        window_size=16,
        global_blocks=[2, 5, 8, 11],  # chosen: as ViTDet
        drop_path_rate=0.1,  # chosen: as ViTDet
        out_type='featmap',
        with_cp=False,  # True: half the memory, more time
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/pretrain_joint_k400/epoch_800.pth',
        ),
    ),
    neck=dict(_delete_=True, type='bimm_mm.SimpleFPN', in_channels=embed_dims),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    # chosen: large-scale jitter as ViTDet: all batches have one size and one
    # need of memory, and windows no padding. Short sides of 480 to 800 are
    # finetune_coco_ms_crop.py.
    dict(
        type='RandomResize',
        scale=(image_size, image_size),
        ratio_range=(0.1, 2.0),
        keep_ratio=True,
    ),
    dict(
        type='RandomCrop',
        crop_type='absolute',
        crop_size=(image_size, image_size),
        recompute_bbox=True,
        allow_negative_crop=True,
    ),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(image_size, image_size), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=(
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
        ),
    ),
]
total_batch_size = 16  # chosen: mmdet's usual
train_dataloader = dict(
    batch_size=2,  # chosen: 16 on 8 GPUs
    num_workers=4,  # chosen
    batch_sampler=None,  # all images are one square
    sampler=dict(type='bimm_mm.EpochSampler'),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

optim_wrapper = dict(
    # Sec. A.1 has the weight decay of Table 9, 0.05
    optimizer=dict(lr=1e-4),  # Sec. A.1
    paramwise_cfg=dict(layer_decay=0.7),  # chosen: as ViTDet; 1.0 is off
)
auto_scale_lr = dict(base_batch_size=16)  # chosen: mmdet's usual total

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,  # chosen: as mmdet
        by_epoch=False,
        end=1000,  # chosen: as mmdet's schedules with AdamW
    ),
    dict(type='MultiStepLR', milestones=[27, 33], gamma=0.1),  # Sec. A.1
]
train_cfg = dict(by_epoch=True, max_epochs=36)  # Sec. A.1
val_cfg = dict()
test_cfg = dict()

# Heads outside autocast: bfloat16 makes many of the scores equal that
# suppression has to order, and mmcv's operators do not know it.
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='bimm_mm.FullPrecisionHook',
        modules=['rpn_head', 'roi_head.bbox_head', 'roi_head.mask_head'],
    ),
]
