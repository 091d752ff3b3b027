# SimMIM with ViT-B on ImageNet-1K (Xie et al., 2022).
#
# As its code: mask tokens inside the encoder, squares of 32 pixels, a linear
# layer that predicts the normalized pixels of hidden patches, absolute
# differences. What differs: positions are added, where SimMIM has biases of
# attention that the blocks share, and branches have no layer scale.
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
        drop_path_rate=0.1,  # SimMIM's code
        init_cfg=dict(
            type='TruncNormal',
            layer=['Linear', 'Conv2d'],
            std=0.02,  # SimMIM's code
        ),
    ),
    masking=dict(
        type='bimm_mm.RandomMasking',
        side=2,  # SimMIM's code: 32 pixels
        ratio=30 / 49,  # SimMIM's code: 0.6, rounded up to whole squares
    ),
    areas=[
        dict(
            name='pixels',
            after_block=12,
            decoder=dict(type='bimm_mm.TokenDecoder'),
            target=dict(
                type='bimm_mm.PixelTarget', norm='imagenet', criterion='l1'
            ),
        )
    ],
)

train_pipeline = _base_.train_pipeline
train_pipeline[1].transforms[0].update(
    crop_ratio_range=(0.67, 1.0),  # SimMIM's code
    interpolation='bilinear',  # SimMIM's code
)
total_batch_size = 2048  # SimMIM's code
train_dataloader = dict(
    batch_size=128,  # SimMIM's code: 2048 in all, here on 16 GPUs
    dataset=dict(dataset=dict(pipeline=train_pipeline)),
)
optim_wrapper = dict(
    optimizer=dict(
        lr=5e-5,  # SimMIM's code: 1e-4 of 512
        betas=(0.9, 0.999),  # SimMIM's code
    ),
    clip_grad=dict(max_norm=5.0),  # SimMIM's code
    # SimMIM's code: the mask token decays
    paramwise_cfg=dict(custom_keys=dict(mask_token=dict(decay_mult=1.0))),
)
warmup, _ = _base_.param_scheduler
warmup.update(start_factor=5e-3, end=10)  # SimMIM's code
param_scheduler = [
    warmup,
    dict(type='MultiStepLR', milestones=[700], gamma=0.1),  # SimMIM's code
]
train_cfg = dict(by_epoch=True, max_epochs=800)  # Table 5
