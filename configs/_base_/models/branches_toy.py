# The two branches of BIMM at toy size, for a demonstration on a CPU. Nothing
# here is from the paper but the structure: three areas per branch, tapped
# along the encoder, with the paper's targets.
#
# What is easier than in the paper, so that a tiny ViT learns in minutes:
# - 64 x 64 pixels in patches of 8, 8 frames and not 16, 6 blocks of width
#   192;
# - half of the tokens are hidden, not 75 % or 90 %.
size = 64
patch_size = 8
arch = dict(embed_dims=192, depth=6, num_heads=3)
decoder_dims = 96

last_decoder = dict(
    type='bimm_mm.TransformerDecoder',
    depth=2,
    decoder_dims=decoder_dims,
    num_heads=3,
)
v1 = dict(
    name='V1',
    after_block=2,
    decoder=dict(
        type='bimm_mm.LinearDecoder', decoder_dims=decoder_dims, num_heads=3
    ),
    target=dict(type='bimm_mm.GaborTarget'),
)
v2 = dict(
    name='V2',
    after_block=4,
    decoder=dict(
        type='bimm_mm.TransformerDecoder',
        depth=1,
        decoder_dims=decoder_dims,
        num_heads=3,
    ),
    # From files, as at full size; see pretrain_joint.py for who makes them.
    target=dict(type='bimm_mm.ContourTarget', source='map'),
)

ventral = dict(
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch=arch,
        img_size=size,
        patch_size=patch_size,
    ),
    masking=dict(type='bimm_mm.RandomMasking', ratio=0.5),
    areas=[
        v1,
        v2,
        dict(
            name='V4',
            after_block=6,
            decoder=last_decoder,
            target=dict(type='bimm_mm.PixelTarget', norm='mae'),
        ),
    ],
)
dorsal = dict(
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch=arch,
        img_size=size,
        patch_size=patch_size,
        num_frames=8,
        tubelet_size=2,
    ),
    masking=dict(type='bimm_mm.TubeMasking', ratio=0.5),
    areas=[
        v1,
        v2,
        dict(
            name='MT',
            after_block=6,
            decoder=last_decoder,
            target=dict(type='bimm_mm.MotionTarget'),
        ),
    ],
)
