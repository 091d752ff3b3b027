# MaskFeat with ViT-B on ImageNet-1K (Wei et al., 2022).
#
# As its code in SlowFast: mask tokens inside the encoder, a linear layer for
# the hidden ones, masks of blocks (mmpretrain's generator), target, loss and
# initial weights. What differs: positions are computed, where MaskFeat learns
# them; the mask token does not decay; the patch embedding's bias starts at 0.
_base_ = [
    '../_base_/datasets/in1k_images.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='bimm_mm.MaskedBranch',
    backbone=dict(
        type='bimm_mm.MaskTokenViT',
        arch='base',
        img_size=224,
        init_cfg=[  # MaskFeat's code
            dict(type='TruncNormal', layer='Conv2d', std=0.02),
            dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.02),
            dict(
                type='Constant',
                layer='LayerNorm',
                val=1.0,
                bias=0.02,
                # That of the head.
                override=dict(type='Constant', name='norm', val=1.0, bias=0.0),
            ),
        ],
    ),
    masking=dict(
        type='bimm_mm.BlockMasking',
        ratio=0.4,  # MaskFeat's code: 78 of 196
        min_tokens=15,  # MaskFeat's code: a fifth of them
    ),
    areas=[
        dict(
            name='hog',
            after_block=12,
            decoder=dict(type='bimm_mm.TokenDecoder'),
            target=dict(
                type='bimm_mm.HOGTarget',
                bins=9,  # MaskFeat's code
                cell=8,  # MaskFeat's code
                window=None,  # MaskFeat's code; mmpretrain has 16
            ),
        )
    ],
)

train_pipeline = _base_.train_pipeline
# MaskFeat's code
train_pipeline[1].transforms[0].update(crop_ratio_range=(0.5, 1.0))
total_batch_size = 2048  # mmpretrain's
train_dataloader = dict(
    batch_size=128,  # mmpretrain's: 2048 in all, here on 16 GPUs
    dataset=dict(dataset=dict(pipeline=train_pipeline)),
)
optim_wrapper = dict(
    # MaskFeat's code; lr: base lr
    optimizer=dict(lr=2e-4, betas=(0.9, 0.999)),
    clip_grad=dict(max_norm=0.02),  # MaskFeat's code
)
# chosen: warm-up and end as Table 8; MaskFeat's code: 30 of 300, 1e-6
train_cfg = dict(by_epoch=True, max_epochs=1600)  # Table 5
