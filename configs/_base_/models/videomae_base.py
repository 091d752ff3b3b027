# VideoMAE with ViT-B (Tong et al., 2022), 16 frames of 224 x 224 pixels.
#
# As VideoMAE's code: encoder, tube masking, decoder, target, loss and initial
# weights; 94,210,944 parameters. One area, after the last block, so that
# nothing of BIMM's is left.
model = dict(
    type='bimm_mm.MaskedBranch',
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch='base',
        img_size=224,
        num_frames=16,  # VideoMAE
        tubelet_size=2,  # VideoMAE
        with_cls_token=False,  # VideoMAE's code
        out_type='avg',  # VideoMAE's code
        key_bias=False,  # VideoMAE's code
        init_like='videomae',
    ),
    masking=dict(type='bimm_mm.TubeMasking', ratio=0.9),  # VideoMAE
    areas=[
        dict(
            name='pixels',
            after_block=12,
            decoder=dict(
                type='bimm_mm.TransformerDecoder',
                depth=4,  # VideoMAE's scripts
                decoder_dims=384,  # VideoMAE's code
                num_heads=6,  # VideoMAE's code
                embed_bias=False,  # VideoMAE's code
                key_bias=False,  # VideoMAE's code
                init_like='videomae',
            ),
            target=dict(type='bimm_mm.PixelTarget', norm='videomae'),
        )
    ],
)
