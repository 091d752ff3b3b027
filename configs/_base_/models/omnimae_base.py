# OmniMAE with ViT-B (Girdhar et al., 2023), 16 frames of 224 x 224 pixels.
#
# As the published code and its config of ImageNet-1K and SSv2: one encoder
# and one decoder for both, batches of images and of videos, an image is two
# equal frames, masking, target, loss, and initial weights. The log's loss is
# that of images or of videos.
pixels = dict(
    name='pixels',
    after_block=12,
    decoder=dict(
        type='bimm_mm.TransformerDecoder',
        depth=4,  # OmniMAE's code
        decoder_dims=384,  # OmniMAE's code
        num_heads=16,  # OmniMAE's code
        embed_last=True,  # OmniMAE's code
        init_like='omnimae',
    ),
    target=dict(type='bimm_mm.PixelTarget', norm='omnimae'),
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
        init_like='mae',
    ),
    masking=dict(
        type='bimm_mm.ImageOrVideoMasking',
        image=dict(
            type='bimm_mm.RandomMasking',
            ratio=0.75,  # OmniMAE's code
        ),
        video=dict(
            type='bimm_mm.RandomMasking',
            ratio=0.9,  # OmniMAE's code
        ),
    ),
    areas=[pixels],
)
