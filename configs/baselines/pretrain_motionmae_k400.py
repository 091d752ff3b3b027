# MotionMAE with ViT-B on Kinetics-400 (Yang et al., 2022).
#
# Exact: two decoders of their own after the last block, one for pixels, one
# for the absolute difference of adjacent frames, squared error for both,
# weights 1:1. Our reading: "adjacent" is in the sampled clip, both targets are
# normalised, positions are computed; MotionMAE learns them.
_base_ = [
    '../_base_/datasets/k400_clips.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

frames = 32  # Table 1
decoder = dict(
    type='bimm_mm.TransformerDecoder',
    depth=4,  # MotionMAE: 4 does best
    width=384,  # MotionMAE: 384 does best
    num_heads=6,  # chosen: as VideoMAE
)
model = dict(
    type='bimm_mm.MaskedBranch',
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch='base',
        img_size=224,
        num_frames=frames,
        tubelet_size=2,  # as VideoMAE
        with_cls_token=False,  # as VideoMAE
        out_type='avg',
    ),
    masking=dict(type='bimm_mm.TubeMasking', ratio=0.9),  # MotionMAE: 90 %
    areas=[
        dict(
            name='pixels',
            after_block=12,
            decoder=decoder,
            target=dict(type='bimm_mm.PixelTarget', norm='videomae'),
        ),
        dict(
            name='motion',
            after_block=12,
            decoder=decoder,
            # chosen: unscaled, weights of 1:1 would leave no motion
            target=dict(type='bimm_mm.MotionTarget', norm='clip'),
        ),
    ],
)

train_pipeline = _base_.train_pipeline
train_pipeline[0].transforms[1].update(clip_len=frames)
train_dataloader = dict(
    dataset=dict(dataset=dict(pipeline=train_pipeline)),
)
# chosen: as VideoMAE, with Table 8's warm-up, betas and weight decay
optim_wrapper = dict(optimizer=dict(lr=1.5e-4))
train_cfg = dict(by_epoch=True, max_epochs=1600)  # Table 1
