# OmniMAE with ViT-B (Girdhar et al., 2023), 16 frames of 224 x 224 pixels.
#
# Matches the paper: one encoder and one decoder for both, their sizes, batches
# of images and of videos in turn, an image is two equal frames. Our reading:
# one batch of images per batch of videos, as long as the videos last;
# VideoMAE's table of positions; random masking; MAE's target; epochs count
# each repeated crop. The log's loss is that of images and videos in turn.
pixels = dict(
    name='pixels',
    after_block=12,
    decoder=dict(
        type='bimm_mm.TransformerDecoder',
        depth=4,  # OmniMAE's code
        decoder_dims=384,  # OmniMAE's code
        num_heads=16,  # OmniMAE's code
    ),
    target=dict(type='bimm_mm.PixelTarget', norm='mae'),  # as MAE
)
model = dict(
    type='bimm_mm.MaskedBranch',
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch='base',
        img_size=224,
        num_frames=16,  # Tables 1 and 2
        tubelet_size=2,  # OmniMAE's code
        with_cls_token=False,  # OmniMAE's code
        out_type='avg',
    ),
    masking=dict(
        type='bimm_mm.ImageOrVideoMasking',
        # chosen: 0.9 for images is published as well
        image=dict(type='bimm_mm.RandomMasking', ratio=0.75),
        # chosen: 0.95 is published as well
        video=dict(type='bimm_mm.RandomMasking', ratio=0.9),
    ),
    areas=[pixels],
)
