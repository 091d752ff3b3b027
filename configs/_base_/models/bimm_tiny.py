# BIMM with ViT-Tiny: what differs from ViT-B. The paper has no such model.
# Stage 1 takes a branch alone:
#   model = dict(_delete_=True, type='bimm_mm.MaskedBranch', **_base_.ventral)
_base_ = './bimm_base.py'

decoder = dict(
    decoder_dims=96,  # chosen: half of the encoder's width, as ViT-B
    num_heads=3,  # chosen: the heads of the encoder, of 32
)
v1 = dict(_base_.v1, decoder=dict(_base_.v1.decoder, **decoder))
v2 = dict(_base_.v2, decoder=dict(_base_.v2.decoder, **decoder))
last = dict(decoder=dict(_base_.last_decoder, **decoder))

ventral = dict(
    backbone=dict(arch='tiny'),
    areas=[v1, v2, dict(_base_.ventral.areas[-1], **last)],
)
dorsal = dict(
    backbone=dict(arch='tiny'),
    areas=[v1, v2, dict(_base_.dorsal.areas[-1], **last)],
)
model = dict(ventral=ventral, dorsal=dorsal)
