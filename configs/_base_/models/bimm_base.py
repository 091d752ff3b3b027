# BIMM with ViT-B (Sec. 3.1), 224 x 224 pixels. Stage 1 takes a branch alone:
#   model = dict(_delete_=True, type='bimm_mm.MaskedBranch', **_base_.ventral)

# V1: "only few linear layers" (Sec. 3.1) and Gabor features (Sec. 3.2).
v1 = dict(
    name='V1',
    after_block=2,  # Table 7d
    decoder=dict(type='bimm_mm.LinearDecoder', decoder_dims=384, num_heads=6),
    target=dict(type='bimm_mm.GaborTarget'),
)
# V2: contours (Sec. 3.2), from files that bimm_mm.LoadContour reads. With
# --contours sobel they are computed on the device, a deviation from the paper
# that its footnote 3 allows.
v2 = dict(
    name='V2',
    after_block=4,  # Table 7d
    decoder=dict(
        type='bimm_mm.TransformerDecoder',
        depth=2,
        decoder_dims=384,
        num_heads=6,
    ),
    target=dict(type='bimm_mm.ContourTarget', source='map'),
)
# V4 and MT: after the last block (Table 7d), the baselines' decoder.
last_decoder = dict(
    type='bimm_mm.TransformerDecoder', depth=4, decoder_dims=384, num_heads=6
)

ventral = dict(
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer', arch='base', img_size=224
    ),
    masking=dict(type='bimm_mm.RandomMasking', ratio=0.75),  # Sec. 4.3
    areas=[
        v1,
        v2,
        dict(
            name='V4',
            after_block=12,
            decoder=last_decoder,
            # Sec. 3.2: "following the practice in [31]", which is MAE
            target=dict(type='bimm_mm.PixelTarget', norm='mae'),
        ),
    ],
)
dorsal = dict(
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch='base',
        img_size=224,
        num_frames=16,  # Sec. A.2
        tubelet_size=2,  # as VideoMAE, the dorsal baseline (Sec. 3)
    ),
    masking=dict(type='bimm_mm.TubeMasking', ratio=0.9),  # Table 7f
    areas=[
        v1,
        v2,
        dict(
            name='MT',
            after_block=12,
            decoder=last_decoder,
            target=dict(type='bimm_mm.MotionTarget'),
        ),
    ],
)
model = dict(
    type='bimm_mm.BIMM',
    ventral=ventral,
    dorsal=dorsal,
    share_blocks=4,  # Sec. 3.3: the first two intermediate blocks
    dorsal_weight=1.0,  # Sec. 3.3: lambda of eq. 4
    ventral_checkpoint='work_dirs/pretrain_ventral_in1k/epoch_800.pth',
)
