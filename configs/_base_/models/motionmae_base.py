# MotionMAE with ViT-B (Yang et al., 2022), 16 frames of 224 x 224 pixels.
#
# Matches the paper: two decoders of their own after the last block, one for
# pixels, one for the absolute difference of adjacent frames, squared error for
# both, weights 1:1. Our reading: "adjacent" is in the sampled clip, both
# targets are normalized, positions are computed; MotionMAE learns them.
decoder = dict(
    type='bimm_mm.TransformerDecoder',
    depth=4,  # MotionMAE: 4 does best
    decoder_dims=384,  # MotionMAE: 384 does best
    num_heads=6,  # chosen: as VideoMAE
)
model = dict(
    type='bimm_mm.MaskedBranch',
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch='base',
        img_size=224,
        num_frames=16,  # Tables 2 and 10
        tubelet_size=2,  # as VideoMAE
        with_cls_token=False,  # as VideoMAE
        out_type='avg',
    ),
    masking=dict(type='bimm_mm.TubeMasking', ratio=0.9),  # MotionMAE: 90 %
    areas=[
        dict(
            name='pixels',
            after_block=12,
            decoder=decoder,
            target=dict(type='bimm_mm.PixelTarget', norm='videomae'),
        ),
        dict(
            name='motion',
            after_block=12,
            decoder=decoder,
            # chosen: unscaled, weights of 1:1 would leave no motion
            target=dict(type='bimm_mm.MotionTarget', norm='clip'),
        ),
    ],
)
