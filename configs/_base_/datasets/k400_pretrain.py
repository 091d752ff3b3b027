# Joint pretraining on Kinetics-400: what differs from UCF101.
_base_ = './ucf101_pretrain.py'

data_root = 'data/kinetics400/videos_train'
contour_root = 'data/kinetics400/contours'

train_pipeline = _base_.train_pipeline
decode, enlarge, load, crop, pack = train_pipeline
# chosen: 16 frames 4 apart, as VideoMAE, and as Sec. A.2 has it for UCF101
decode.transforms[2].update(contour_root=contour_root)
load.update(contour_root=contour_root, data_root=data_root)
crop.transforms.pop()  # Table 8: no random flip

total_batch_size = 16 * 16  # Table 8 on 16 GPUs
train_dataloader = dict(
    batch_size=16,  # Table 8
    dataset=dict(
        dataset=dict(
            ann_file='data/kinetics400/kinetics400_train_list_videos.txt',
            data_prefix=dict(video=data_root),
            pipeline=train_pipeline,
        )
    ),
)
