# DeepMIM with ViT-B on ImageNet-1K, predicting pixels (Ren et al., 2023).
#
# As the paper: MAE's masking and target, equal weights. As its code, which is
# public for CLIP features only: four decoders of equal size after blocks 6, 8,
# 10 and 12, the features of inner blocks without a norm. Warm-up, cosine,
# betas and weight decay are Table 8's, which are DeepMIM's.
_base_ = [
    '../_base_/models/mae_base.py',
    '../_base_/datasets/in1k_images.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

decoder = dict(_base_.decoder, depth=4)  # DeepMIM's code; width as MAE
level = dict(
    decoder=decoder,
    target=_base_.target,
    inner_norm=False,  # DeepMIM's code; True norms what a decoder reads
)
model = dict(
    areas=[  # DeepMIM's code: after blocks 6, 8, 10 and 12
        dict(level, name='level1', after_block=6),
        dict(level, name='level2', after_block=8),
        dict(level, name='level3', after_block=10),
        dict(level, name='level4', after_block=12),
    ]
)
optim_wrapper = dict(
    optimizer=dict(lr=1.5e-4),  # DeepMIM's code: base lr
    # DeepMIM's code: tokens decay
    paramwise_cfg=dict(custom_keys=dict(_delete_=True)),
)
train_cfg = dict(by_epoch=True, max_epochs=1600)  # Table 5
