# DeepMIM with ViT-B on ImageNet-1K, predicting pixels (Ren et al., 2023).
#
# Matches the paper: four decoders of equal size after blocks 6, 8, 10 and 12,
# equal weights, MAE's masking and target. Our reading: the taps before the
# last one have a LayerNorm of their own, which DeepMIM's code has not, and the
# decoders are those that DeepMIM's code has for CLIP features. Warm-up,
# cosine, betas and weight decay are Table 8's.
_base_ = [
    '../_base_/models/mae_base.py',
    '../_base_/datasets/in1k_images.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

decoder = dict(_base_.decoder, depth=4)  # DeepMIM's code; width as MAE
target = _base_.target
model = dict(
    areas=[  # DeepMIM's code: after blocks 6, 8, 10 and 12
        dict(name='level1', after_block=6, decoder=decoder, target=target),
        dict(name='level2', after_block=8, decoder=decoder, target=target),
        dict(name='level3', after_block=10, decoder=decoder, target=target),
        dict(name='level4', after_block=12, decoder=decoder, target=target),
    ]
)
optim_wrapper = dict(optimizer=dict(lr=1.5e-4))  # DeepMIM's code: base lr
train_cfg = dict(by_epoch=True, max_epochs=1600)  # Table 5
