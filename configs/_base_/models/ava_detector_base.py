# Action detection on the dorsal branch, ViT-B (Sec. A.2): actions of given
# boxes, from the map of the last block. A config adds checkpoint, drop path,
# number of classes and data_preprocessor.
patch_size = 16

model = dict(
    type='FastRCNN',
    _scope_='mmdet',
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch='base',
        img_size=224,
        patch_size=patch_size,
        num_frames=16,  # Sec. A.2
        tubelet_size=2,  # as VideoMAE, the dorsal baseline (Sec. 3)
        out_type='featmap3d',
        # chosen: test frames are larger than those of (pre)training
        interpolate_from=(16, 224, 224),
    ),
    # chosen: sizes, pooling and dropout as in mmaction2's VideoMAE config
    roi_head=dict(
        type='AVARoIHead',
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor3D',
            roi_layer_type='RoIAlign',
            featmap_stride=patch_size,
            output_size=8,
            with_temporal_pool=True,
        ),
        bbox_head=dict(
            type='BBoxHeadAVA',
            background_class=True,
            in_channels=768,
            multilabel=True,
            dropout_ratio=0.5,
            topk=None,  # chosen: only logged, but refuses 5 classes and fewer
        ),
    ),
    train_cfg=dict(
        rcnn=dict(
            # It has nothing to assign: there are no proposals, the sampler
            # adds each annotated box with its own actions.
            assigner=dict(
                type='MaxIoUAssignerAVA',
                pos_iou_thr=0.9,
                neg_iou_thr=0.9,
                min_pos_iou=0.9,
            ),
            sampler=dict(
                type='RandomSampler',
                num=512,  # chosen: in effect no limit
                pos_fraction=1,
                add_gt_as_proposals=True,
            ),
            pos_weight=1.0,
        )
    ),
    test_cfg=dict(rcnn=None),
)
