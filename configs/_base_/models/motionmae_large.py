# MotionMAE with ViT-L: what differs from ViT-B.
_base_ = './motionmae_base.py'

decoder = dict(
    _base_.decoder,
    decoder_dims=512,  # chosen: as VideoMAE
    num_heads=8,  # chosen: as VideoMAE
)
pixels, motion = _base_.model.areas
model = dict(
    backbone=dict(arch='large'),
    areas=[
        dict(pixels, after_block=24, decoder=decoder),
        dict(motion, after_block=24, decoder=decoder),
    ],
)
