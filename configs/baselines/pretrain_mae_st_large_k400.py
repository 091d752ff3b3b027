# MAE-ST with ViT-L on Kinetics-400 (Feichtenhofer et al., 2022).
#
# Exact: spacetime-agnostic masking, the decoder's size, which frames are
# predicted, how they are normalised, and the loss.
# What differs: positions are computed (VideoMAE's table), MAE-ST learns one
# table for space and one for time; the decoder gets the encoder's class token,
# MAE-ST's has one of its own; 157 tokens are visible, 156 there; the repeated
# crops are of one clip, there each is of a clip of its own. Our reading:
# the epochs of Table 1 count each of the repeated crops.
_base_ = [
    '../_base_/datasets/k400_clips.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

repeats = 4  # MAE-ST's code
model = dict(
    type='bimm_mm.MaskedBranch',
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch='large',
        img_size=224,
        num_frames=16,  # MAE-ST
        tubelet_size=2,  # MAE-ST
    ),
    masking=dict(type='bimm_mm.RandomMasking', ratio=0.9),  # MAE-ST
    areas=[
        dict(
            name='pixels',
            after_block=24,
            decoder=dict(
                type='bimm_mm.TransformerDecoder',
                depth=4,  # MAE-ST's code
                width=512,  # MAE-ST's code
                num_heads=16,  # MAE-ST's code
            ),
            target=dict(
                type='bimm_mm.SparsePixelTarget',
                norm='mae',  # MAE-ST
                every=2,  # MAE-ST's code: 8 of 16 frames
            ),
        )
    ],
)
# MAE-ST's code: not ImageNet's
data_preprocessor = dict(mean=[114.75] * 3, std=[57.375] * 3)

train_pipeline = [
    _base_.train_pipeline[0],
    dict(
        type='bimm_mm.RepeatCrops',
        num=repeats,
        transforms=[
            # MAE-ST's code: half of the area or more, and flips
            dict(type='RandomResizedCrop', area_range=(0.5, 1.0)),
            dict(
                type='Resize',
                scale=(_base_.size, _base_.size),
                keep_ratio=False,
            ),
            dict(type='Flip', flip_ratio=0.5),
        ],
    ),
    dict(type='bimm_mm.PackStimulus'),
]
train_dataloader = dict(
    batch_size=8,  # chosen: 512 videos in all on 64 GPUs
    dataset=dict(dataset=dict(pipeline=train_pipeline)),
)
optim_wrapper = dict(
    optimizer=dict(lr=1.6e-3),  # MAE-ST's code: base lr
    clip_grad=dict(max_norm=0.02),  # MAE-ST's code
)
# chosen: warm-up, betas and weight decay as Table 8
train_cfg = dict(
    by_epoch=True,
    max_epochs=1600 // repeats,  # Table 1: 1600
)
