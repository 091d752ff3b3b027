# MotionMAE with ViT-Tiny: what differs from ViT-B.
_base_ = './motionmae_base.py'

decoder = dict(
    _base_.decoder,
    decoder_dims=96,  # chosen: half of the encoder's width, as ViT-B
    num_heads=3,  # chosen: the heads of the encoder, of 32
)
pixels, motion = _base_.model.areas
model = dict(
    backbone=dict(arch='tiny'),
    areas=[dict(pixels, decoder=decoder), dict(motion, decoder=decoder)],
)
