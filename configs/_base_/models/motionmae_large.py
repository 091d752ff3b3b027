# MotionMAE with ViT-L (Yang et al., 2022), 16 frames of 224 x 224 pixels.
#
# Exact: two decoders of their own after the last block, one for pixels, one
# for the absolute difference of adjacent frames, squared error for both,
# weights 1:1. Our reading: "adjacent" is in the sampled clip, both targets are
# normalized, positions are computed; MotionMAE learns them.
decoder = dict(
    type='bimm_mm.TransformerDecoder',
    depth=4,  # MotionMAE: 4 does best
    width=512,  # chosen: as VideoMAE
    num_heads=8,  # chosen: as VideoMAE
)
model = dict(
    type='bimm_mm.MaskedBranch',
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch='large',
        img_size=224,
        num_frames=16,  # Table 2
        tubelet_size=2,  # as VideoMAE
        with_cls_token=False,  # as VideoMAE
        out_type='avg',
    ),
    masking=dict(type='bimm_mm.TubeMasking', ratio=0.9),  # MotionMAE: 90 %
    areas=[
        dict(
            name='pixels',
            after_block=24,
            decoder=decoder,
            target=dict(type='bimm_mm.PixelTarget', norm='videomae'),
        ),
        dict(
            name='motion',
            after_block=24,
            decoder=decoder,
            # chosen: unscaled, weights of 1:1 would leave no motion
            target=dict(type='bimm_mm.MotionTarget', norm='clip'),
        ),
    ],
)
