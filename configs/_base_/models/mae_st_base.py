# MAE-ST with ViT-B (Feichtenhofer et al., 2022), 16 frames of 224 x 224.
#
# Matches the paper: spacetime-agnostic masking, the decoder's size, which
# frames are predicted, how they are normalized, the loss, and its code's
# initial weights. What differs:
# positions are computed (VideoMAE's table), MAE-ST learns one table for space
# and one for time; the decoder gets the encoder's class token, MAE-ST's has
# one of its own; 157 tokens are visible, 156 there; the repeated crops are of
# one clip, there each is of a clip of its own. Our reading: the epochs of
# Table 1 count each of the repeated crops.
model = dict(
    type='bimm_mm.MaskedBranch',
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch='base',
        img_size=224,
        num_frames=16,  # MAE-ST
        tubelet_size=2,  # MAE-ST
        init_like='mae_st',
    ),
    masking=dict(type='bimm_mm.RandomMasking', ratio=0.9),  # MAE-ST
    areas=[
        dict(
            name='pixels',
            after_block=12,
            decoder=dict(
                type='bimm_mm.TransformerDecoder',
                depth=4,  # MAE-ST's code
                decoder_dims=512,  # MAE-ST's code
                num_heads=16,  # MAE-ST's code
                init_like='mae_st',
            ),
            target=dict(
                type='bimm_mm.PixelTarget',
                norm='mae',  # MAE-ST
                every=2,  # MAE-ST's code: 8 of 16 frames
                mean=(0.45, 0.45, 0.45),  # MAE-ST's code
                std=(0.225, 0.225, 0.225),  # MAE-ST's code
            ),
        )
    ],
)
