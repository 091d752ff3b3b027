# MaskFeat with ViT-B on ImageNet-1K (Wei et al., 2022).
#
# Matches the paper: mask tokens inside the encoder, a linear layer for the
# hidden ones, the target and the loss: with the same weights, positions and
# mask the loss is that of mmpretrain's MaskFeat. Our reading: 40 % of the
# patches are hidden independently, where MaskFeat hides blocks of them;
# positions are computed, where MaskFeat learns them.
_base_ = [
    '../_base_/datasets/in1k_images.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='bimm_mm.MaskedBranch',
    backbone=dict(type='bimm_mm.MaskTokenViT', arch='base', img_size=224),
    masking=dict(
        type='bimm_mm.RandomMasking',
        ratio=0.4,  # mmpretrain's MaskFeat: 78 of 196
    ),
    areas=[
        dict(
            name='hog',
            after_block=12,
            decoder=dict(type='bimm_mm.TokenDecoder'),
            target=dict(
                type='bimm_mm.HOGTarget',
                bins=9,  # mmpretrain's MaskFeat
                cell=8,  # mmpretrain's MaskFeat
                window=16,  # mmpretrain's MaskFeat
            ),
        )
    ],
)

train_pipeline = _base_.train_pipeline
# mmpretrain's MaskFeat
train_pipeline[1].transforms[0].update(crop_ratio_range=(0.5, 1.0))
train_dataloader = dict(
    batch_size=128,  # mmpretrain's: 2048 in all, here on 16 GPUs
    dataset=dict(dataset=dict(pipeline=train_pipeline)),
)
optim_wrapper = dict(
    # mmpretrain's MaskFeat; lr: base lr
    optimizer=dict(lr=2e-4, betas=(0.9, 0.999)),
    clip_grad=dict(max_norm=0.02),  # mmpretrain's MaskFeat
)
# chosen: warm-up and weight decay as Table 8
train_cfg = dict(by_epoch=True, max_epochs=1600)  # Table 5
