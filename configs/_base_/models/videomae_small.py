# VideoMAE with ViT-S: what differs from ViT-B. 24,029,376 parameters.
_base_ = './videomae_base.py'

(pixels,) = _base_.model.areas
decoder = dict(
    pixels.decoder,
    decoder_dims=192,  # VideoMAE's code
    num_heads=3,  # VideoMAE's code
)
model = dict(
    backbone=dict(arch='small'),
    areas=[dict(pixels, decoder=decoder)],
)
