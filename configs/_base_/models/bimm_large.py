# BIMM with ViT-L (Sec. 3.1): what differs from ViT-B. Stage 1 takes a branch
# alone:
#   model = dict(_delete_=True, type='bimm_mm.MaskedBranch', **_base_.ventral)
_base_ = './bimm_base.py'

v1 = dict(
    _base_.v1,
    after_block=4,  # chosen: the share of Table 7d, 2 of 12
    decoder=dict(_base_.v1.decoder, decoder_dims=512, num_heads=8),
)
v2 = dict(
    _base_.v2,
    after_block=8,  # chosen: the share of Table 7d, 4 of 12
    decoder=dict(_base_.v2.decoder, decoder_dims=512, num_heads=8),
)
# V4 and MT: after the last block (Table 7d), the baselines' decoder.
last = dict(
    after_block=24,
    decoder=dict(_base_.last_decoder, decoder_dims=512, num_heads=8),
)

ventral = dict(
    backbone=dict(arch='large'),
    areas=[v1, v2, dict(_base_.ventral.areas[-1], **last)],
)
dorsal = dict(
    backbone=dict(arch='large'),
    areas=[v1, v2, dict(_base_.dorsal.areas[-1], **last)],
)
model = dict(
    ventral=ventral,
    dorsal=dorsal,
    share_blocks=8,  # Sec. 3.3: the first two intermediate blocks
    ventral_checkpoint='work_dirs/pretrain_ventral_large_in1k/epoch_800.pth',
)
