# MAE with ViT-B (He et al., 2022), 224 x 224 pixels.
#
# Matches the paper: encoder, masking, decoder, target and loss, and its code's
# initial weights; with the same weights and mask the loss is that of
# mmpretrain's MAE. Its decoder has a bias
# for keys and a class token, as MAE's code.
decoder = dict(
    type='bimm_mm.TransformerDecoder',
    depth=8,  # MAE
    decoder_dims=512,  # MAE
    num_heads=16,  # MAE's code
)
target = dict(type='bimm_mm.PixelTarget', norm='mae')
model = dict(
    type='bimm_mm.MaskedBranch',
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch='base',
        img_size=224,
        init_like='mae',
    ),
    masking=dict(type='bimm_mm.RandomMasking', ratio=0.75),  # MAE
    areas=[
        dict(name='pixels', after_block=12, decoder=decoder, target=target)
    ],
)
