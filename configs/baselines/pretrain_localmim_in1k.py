# LocalMIM with ViT-B on ImageNet-1K (Wang et al., 2023).
#
# As LocalMIM's code: levels after blocks 2, 4, 10 and 12 with a LayerNorm
# each, one decoder per level, HOG of cells of 4, 8, 16 and 32 pixels at scales
# 4, 2, 1 and 0.5, a coarse place counts by its share of hidden patches, equal
# weights; initial weights.
_base_ = [
    '../_base_/models/mae_base.py',
    '../_base_/datasets/in1k_images.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

decoder = dict(
    type='bimm_mm.MultiScaleDecoder',
    depth=1,  # LocalMIM's code
    decoder_dims=256,  # LocalMIM's code
    num_heads=8,  # LocalMIM's code
)
target = dict(
    type='bimm_mm.HOGTarget',
    bins=9,  # LocalMIM's code
    window=None,  # LocalMIM's code
)
model = dict(
    areas=[  # LocalMIM's code: blocks, scales and cells
        dict(
            name='level1',
            after_block=2,
            decoder=dict(decoder, scale=4),
            target=dict(target, cell=4),
        ),
        dict(
            name='level2',
            after_block=4,
            decoder=dict(decoder, scale=2),
            target=dict(target, cell=8),
        ),
        dict(
            name='level3',
            after_block=10,
            decoder=dict(decoder, scale=1),
            target=dict(target, cell=16),
        ),
        dict(
            name='level4',
            after_block=12,
            decoder=dict(decoder, scale=0.5),
            target=dict(target, cell=32),
        ),
    ],
)

total_batch_size = 2048  # LocalMIM's code
train_dataloader = dict(
    batch_size=128,  # LocalMIM's code: 2048 in all, here on 16 GPUs
)
# Warm-up, betas and weight decay are Table 8's, which are LocalMIM's.
optim_wrapper = dict(
    optimizer=dict(lr=2e-4),  # LocalMIM's code: base lr
    # LocalMIM's code: tokens decay
    paramwise_cfg=dict(custom_keys=dict(_delete_=True)),
)
warmup, cosine = _base_.param_scheduler
cosine.update(eta_min=1e-6)  # LocalMIM's code
param_scheduler = [warmup, cosine]
train_cfg = dict(by_epoch=True, max_epochs=1600)  # Table 5
