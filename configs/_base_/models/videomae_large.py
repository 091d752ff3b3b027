# VideoMAE with ViT-L: what differs from ViT-B. 342,996,992 parameters.
_base_ = './videomae_base.py'

(pixels,) = _base_.model.areas
decoder = dict(
    pixels.decoder,
    depth=12,  # VideoMAE's scripts
    decoder_dims=512,  # VideoMAE's code
    num_heads=8,  # VideoMAE's code
)
model = dict(
    backbone=dict(arch='large'),
    areas=[dict(pixels, after_block=24, decoder=decoder)],
)
