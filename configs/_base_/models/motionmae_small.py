# MotionMAE with ViT-Small: what differs from ViT-B.
_base_ = './motionmae_base.py'

decoder = dict(
    _base_.decoder,
    decoder_dims=192,  # chosen: half of the encoder's width, as ViT-B
    num_heads=3,  # chosen: half of the encoder's heads, as ViT-B
)
pixels, motion = _base_.model.areas
model = dict(
    backbone=dict(arch='small'),
    areas=[dict(pixels, decoder=decoder), dict(motion, decoder=decoder)],
)
