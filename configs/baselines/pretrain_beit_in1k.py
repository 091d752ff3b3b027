# BEiT with ViT-B on ImageNet-1K (Bao et al., 2022).
#
# As its code: mask tokens inside the encoder, masks of blocks, a linear layer
# that predicts the code of a hidden patch that DALL-E's tokenizer gives, cross
# entropy. What differs: positions are added, where BEiT has biases of
# attention that the blocks share; branches have no layer scale; DALL-E sees
# the cropped picture halved.
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
        drop_path_rate=0.1,  # BEiT's code
        init_cfg=dict(
            type='TruncNormal',
            layer=['Linear', 'Conv2d'],
            std=0.02,  # BEiT's code
        ),
    ),
    masking=dict(
        type='bimm_mm.BlockMasking',
        ratio=75 / 196,  # BEiT's code
        min_tokens=16,  # BEiT's code
    ),
    areas=[
        dict(
            name='codes',
            after_block=12,
            decoder=dict(type='bimm_mm.TokenDecoder'),
            target=dict(
                type='bimm_mm.CodeTarget',
                tokenizer=dict(
                    type='bimm_mm.DALLETokenizer',
                    # mmpretrain's conversion of OpenAI's encoder
                    checkpoint='data/dalle/dalle_encoder.pth',
                    sha256=None,  # give that of your file to have it checked
                ),
            ),
        )
    ],
)

train_pipeline = _base_.train_pipeline
crop = train_pipeline[1].transforms
crop[0].update(crop_ratio_range=(0.08, 1.0))  # BEiT's code
# BEiT's code
crop.insert(
    0, dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4)
)
total_batch_size = 2048  # BEiT's code
train_dataloader = dict(
    batch_size=128,  # BEiT's code: 2048 in all, here on 16 GPUs
    dataset=dict(dataset=dict(pipeline=train_pipeline)),
)
optim_wrapper = dict(
    optimizer=dict(
        lr=1.875e-4,  # BEiT's code: 1.5e-3 of 2048
        betas=(0.9, 0.999),  # BEiT's code
    ),
    clip_grad=dict(max_norm=3.0),  # BEiT's code
    # BEiT's code: the mask token decays
    paramwise_cfg=dict(custom_keys=dict(mask_token=dict(decay_mult=1.0))),
)
warmup, cosine = _base_.param_scheduler
warmup.update(end=10)  # BEiT's code
cosine.update(begin=10, eta_min=1e-5)  # BEiT's code
param_scheduler = [warmup, cosine]
train_cfg = dict(by_epoch=True, max_epochs=800)  # Table 5
