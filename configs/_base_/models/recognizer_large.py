# A video classifier on the dorsal branch, ViT-L (Sec. A.2). A config adds drop
# path, checkpoint, number of classes and data_preprocessor.
model = dict(
    type='Recognizer3D',
    backbone=dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch='large',
        img_size=224,
        num_frames=16,  # Sec. A.2
        tubelet_size=2,  # as VideoMAE, the dorsal baseline (Sec. 3)
        out_type='cls_token',  # Sec. A.2
        single_output=True,
        # chosen: 10 instead of 46 GiB for 16 videos (docs/downstream.md)
        with_cp=True,
    ),
    cls_head=dict(
        type='TimeSformerHead',  # Sec. A.2: "the final linear layer"
        in_channels=1024,
        init_std=2e-5,  # chosen: VideoMAE's 0.02 x 0.001
        label_smooth_eps=0.1,  # Table 9
        average_clips='prob',  # chosen: as VideoMAE
    ),
)
