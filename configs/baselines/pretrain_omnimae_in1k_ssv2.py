# OmniMAE with ViT-B on ImageNet-1K and SSv2 (Girdhar et al., 2023).
#
# Exact: one encoder and one decoder for both, their sizes, batches of images
# and of videos in turn, an image is two equal frames. Our reading: one batch
# of images per batch of videos, as long as the videos last; VideoMAE's table
# of positions; random masking; MAE's target; epochs count each repeated crop.
# The log's loss is that of images and videos in turn.
_base_ = [
    '../_base_/datasets/in1k_k400_mixed.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='bimm_mm.MaskedBranch',
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch='base',
        img_size=224,
        num_frames=16,  # Table 2
        tubelet_size=2,  # OmniMAE's code
        with_cls_token=False,  # OmniMAE's code
        out_type='avg',
    ),
    masking=dict(
        type='bimm_mm.StillOrClipMasking',
        # chosen: 0.9 for images is published as well
        still=dict(type='bimm_mm.RandomMasking', ratio=0.75),
        # chosen: 0.95 is published as well
        clip=dict(type='bimm_mm.RandomMasking', ratio=0.9),
    ),
    areas=[
        dict(
            name='pixels',
            after_block=12,
            decoder=dict(
                type='bimm_mm.TransformerDecoder',
                depth=4,  # OmniMAE's code
                width=384,  # OmniMAE's code
                num_heads=16,  # OmniMAE's code
            ),
            target=dict(type='bimm_mm.PixelTarget', norm='mae'),  # as MAE
        )
    ],
)

images, videos = _base_.train_dataloader.dataset.datasets
videos.dataset.update(
    ann_file='data/sthv2/sthv2_train_list_videos.txt',
    data_prefix=dict(video='data/sthv2/videos'),
)
sample = videos.dataset.pipeline[0].transforms[1]
sample.update(frame_interval=2)  # chosen: as VideoMAE
crops = videos.dataset.pipeline[1].transforms
crops.pop()  # chosen: no flip, left and right are classes of SSv2
train_dataloader = dict(dataset=dict(datasets=[images, videos]))
# chosen: warm-up, betas and weight decay as Table 8
optim_wrapper = dict(optimizer=dict(lr=1.6e-3))  # OmniMAE's code
auto_scale_lr = dict(base_batch_size=2048)  # chosen: lr is for so many files
train_cfg = dict(
    by_epoch=True,
    max_epochs=1600 // _base_.repeats,  # Table 2: 1600
)
