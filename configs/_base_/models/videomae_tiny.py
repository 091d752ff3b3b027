# VideoMAE with ViT-Tiny: what differs from ViT-B.
_base_ = './videomae_base.py'

(pixels,) = _base_.model.areas
decoder = dict(
    pixels.decoder,
    decoder_dims=96,  # chosen: half of the encoder's width, as ViT-B
    num_heads=3,  # chosen: the heads of the encoder, of 32
)
model = dict(
    backbone=dict(arch='tiny'),
    areas=[dict(pixels, decoder=decoder)],
)
