# MAM2 with ViT-B, 16 frames of 224 x 224 pixels.
#
# From the abstract, all that is public: encoder, regressor and two decoders;
# VQGAN codes for appearance, RGB difference for motion. Encoder and masking
# are VideoMAE's, which MAM2 is compared with; the regressor is CAE's. What
# the abstract does not fix is marked.
decoder = dict(
    type='bimm_mm.LatentDecoder',
    depth=4,  # chosen: as VideoMAE, and as CAE
    decoder_dims=384,  # chosen: as VideoMAE; CAE's is the encoder's
    num_heads=6,  # chosen: as VideoMAE
)
tokenizer = dict(
    type='bimm_mm.VQGANTokenizer',
    # chosen: the smaller of the two on ImageNet with 16 x 16 pixels per code;
    # the file is taming-transformers' last.ckpt under this name
    checkpoint='data/vqgan/vqgan_imagenet_f16_1024.ckpt',
    num_codes=1024,
    sha256=None,  # give that of your file to have it checked
    dtype='bfloat16',  # chosen: a frozen encoder; 'float32' for exact codes
)

model = dict(
    type='bimm_mm.MaskedBranch',
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch='base',
        img_size=224,
        num_frames=16,  # chosen: as VideoMAE
        tubelet_size=2,  # chosen: as VideoMAE
    ),
    masking=dict(
        type='bimm_mm.TubeMasking',  # chosen: as VideoMAE
        ratio=0.9,  # chosen: as VideoMAE
    ),
    regressor=dict(
        type='bimm_mm.LatentRegressor',
        depth=4,  # chosen: as CAE
        num_heads=12,  # chosen: as CAE
        keys='visible',  # chosen: see the class; CAE's is 'all'
        layer_scale=None,  # chosen: CAE has 0.1
    ),
    areas=[
        dict(
            name='appearance',
            after_block=12,
            decoder=decoder,
            target=dict(
                type='bimm_mm.CodeTarget',
                tokenizer=tokenizer,
                frames='first',  # chosen: one code per token
            ),
            weight=1.0,  # chosen
        ),
        dict(
            name='motion',
            after_block=12,
            decoder=decoder,
            target=dict(
                type='bimm_mm.MotionTarget',
                signed=True,  # chosen
                norm='clip',  # chosen: predicting the mean costs 1
            ),
            weight=1.0,  # chosen
        ),
    ],
)
