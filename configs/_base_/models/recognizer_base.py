# A video classifier on the dorsal branch, ViT-B (Sec. A.2). A config adds drop
# path, checkpoint, number of classes and data_preprocessor.
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch='base',
        img_size=224,
        num_frames=16,  # Sec. A.2
        tubelet_size=2,  # as VideoMAE, the dorsal baseline (Sec. 3)
        out_type='cls_token',  # Sec. A.2
        single_output=True,
    ),
    cls_head=dict(
        type='TimeSformerHead',  # Sec. A.2: "the final linear layer"
        in_channels=768,
        init_std=2e-5,  # chosen: VideoMAE's 0.02 x 0.001
        label_smooth_eps=0.1,  # Table 9
        average_clips='prob',  # chosen: as VideoMAE
    ),
)
