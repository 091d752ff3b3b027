# MAE with ViT-B on ImageNet-1K (He et al., 2022).
#
# Exact: encoder, masking, decoder, target and loss; with the same weights and
# mask the loss is that of mmpretrain's MAE. Its decoder has a bias for keys
# and a class token, as MAE's code.
# Warm-up, cosine, betas and weight decay are Table 8's.
_base_ = [
    '../_base_/datasets/in1k_images.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='bimm_mm.MaskedBranch',
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer', arch='base', img_size=224
    ),
    masking=dict(type='bimm_mm.RandomMasking', ratio=0.75),  # MAE
    areas=[
        dict(
            name='pixels',
            after_block=12,
            decoder=dict(
                type='bimm_mm.TransformerDecoder',
                depth=8,  # MAE
                width=512,  # MAE
                num_heads=16,  # MAE's code
            ),
            target=dict(type='bimm_mm.PixelTarget', norm='mae'),
        )
    ],
)
optim_wrapper = dict(optimizer=dict(lr=1.5e-4))  # MAE: base lr
train_cfg = dict(by_epoch=True, max_epochs=1600)  # Table 5
