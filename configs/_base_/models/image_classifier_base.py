# ViT-B, a linear layer on its class token (Sec. A.2), mixed pictures.
num_classes = 1000  # Sec. A.1

data_preprocessor = dict(
    num_classes=num_classes,
    mean=[123.675, 116.28, 103.53],  # chosen: as MAE
    std=[58.395, 57.12, 57.375],  # chosen: as MAE
    to_rgb=True,  # OpenCV gives B, G, R
)
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch='base',
        img_size=224,  # Sec. A.1
        drop_path_rate=0.1,  # Table 9
        out_type='cls_token',  # Sec. A.2
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=num_classes,
        in_channels=768,
        # The label is a mixture and is smoothed after mixing, as in timm.
        loss=dict(
            type='LabelSmoothLoss',
            label_smooth_val=0.1,  # Table 9
            mode='original',
        ),
        init_cfg=dict(
            type='TruncNormal', layer='Linear', std=2e-5
        ),  # chosen: as MAE
    ),
    # One of the two for each batch, with equal chances; chosen: as MAE.
    train_cfg=dict(
        augments=[
            dict(type='Mixup', alpha=0.8),  # Table 9
            dict(type='CutMix', alpha=1.0),  # Table 9
        ]
    ),
)
