# ViT-B in UperNet (Sec. 4.2), whose sizes are those of MAE's UperNet.
# Classes and input size are the data set's: the leaf gives them.
embed_dims = 768
norm_cfg = dict(type='SyncBN', requires_grad=True)  # chosen: as MAE

model = dict(
    type='EncoderDecoder',
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch='base',
        interpolate_from=224,  # Sec. A.1: bilinear positional embedding
        drop_path_rate=0.1,  # chosen: as MAE
        out_type='featmap',
        out_indices=[1, 3, 9, 11],  # chosen: as LocalMIM
    ),
    # Strides 4, 8, 16 and 32 from four maps of stride 16.
    neck=dict(
        type='Feature2Pyramid',  # chosen: as MAE
        embed_dim=embed_dims,
        rescales=[4, 2, 1, 0.5],
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        type='UPerHead',
        in_channels=[embed_dims] * 4,
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),  # chosen: as MAE
        channels=768,  # chosen: as MAE
        dropout_ratio=0.1,  # chosen: as MAE
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=embed_dims,
        in_index=2,
        channels=256,  # chosen: as MAE
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,  # chosen: as MAE
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(
            type='CrossEntropyLoss',
            loss_weight=0.4,  # chosen: as MAE
        ),
    ),
    train_cfg=dict(),
)
