# Ours, not the paper's: decoders of LocalMIM's size; V1's has no block.
# Stage 1 has them as well, which is
# configs/ablations/ablation_ventral_decoders_small.py.
_base_ = '../_base_/ablation_ucf101.py'

small = dict(decoder_dims=256, num_heads=8)  # LocalMIM's code
decoder = dict(_base_.last_decoder, depth=1, **small)  # LocalMIM's code
v1 = dict(_base_.v1, decoder=dict(_base_.v1.decoder, **small))
v2 = dict(_base_.v2, decoder=decoder)
model = dict(
    ventral=dict(
        areas=[v1, v2, dict(_base_.ventral.areas[-1], decoder=decoder)]
    ),
    dorsal=dict(
        areas=[v1, v2, dict(_base_.dorsal.areas[-1], decoder=decoder)]
    ),
    ventral_checkpoint='work_dirs/ablation_ventral_decoders_small/'
    'epoch_800.pth',
)
