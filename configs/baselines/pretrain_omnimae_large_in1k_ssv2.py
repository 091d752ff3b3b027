# OmniMAE with ViT-L on ImageNet-1K and SSv2: what differs from ViT-B.
_base_ = './pretrain_omnimae_in1k_ssv2.py'

decoder = dict(_base_.pixels.decoder, decoder_dims=512)  # OmniMAE's code
model = dict(
    backbone=dict(arch='large'),
    areas=[dict(_base_.pixels, after_block=24, decoder=decoder)],
)
