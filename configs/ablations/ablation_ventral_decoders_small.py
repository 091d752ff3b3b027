# Stage 1 of configs/ablations/ablation_decoders_small.py.
_base_ = '../bimm/pretrain_ventral_in1k.py'

small = dict(decoder_dims=256, num_heads=8)  # LocalMIM's code
decoder = dict(_base_.last_decoder, depth=1, **small)  # LocalMIM's code
v1 = dict(_base_.v1, decoder=dict(_base_.v1.decoder, **small))
v2 = dict(_base_.v2, decoder=decoder)
v4 = dict(_base_.ventral.areas[-1], decoder=decoder)
model = dict(areas=[v1, v2, v4])
