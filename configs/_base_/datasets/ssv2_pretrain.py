# Joint pretraining on Something-Something-v2: what differs from UCF101.
_base_ = './ucf101_pretrain.py'

data_root = 'data/sthv2/videos'
contour_root = 'data/sthv2/contours'

train_pipeline = _base_.train_pipeline
decode, enlarge, load, crop, pack = train_pipeline
decode.transforms[1].update(frame_interval=2)  # chosen: as VideoMAE
decode.transforms[2].update(contour_root=contour_root)
load.update(contour_root=contour_root, data_root=data_root)

total_batch_size = 16 * 16  # Table 8 on 16 GPUs
train_dataloader = dict(
    batch_size=16,  # Table 8
    dataset=dict(
        dataset=dict(
            ann_file='data/sthv2/sthv2_train_list_videos.txt',
            data_prefix=dict(video=data_root),
            pipeline=train_pipeline,
        )
    ),
)
