# Kinetics-400 for methods that need no contours: see ucf101_clips.py.
_base_ = './ucf101_pretrain.py'

decode, enlarge, load, crop, pack = _base_.train_pipeline
decode.transforms.pop(2)  # no contours whose frames are to be met
crop.transforms.pop()  # as VideoMAE's code: no random flip
train_pipeline = [decode, enlarge, crop, pack]

total_batch_size = 1024  # VideoMAE
train_dataloader = dict(
    batch_size=16,  # VideoMAE: 1024 in all, here on 64 GPUs
    dataset=dict(
        dataset=dict(
            ann_file='data/kinetics400/kinetics400_train_list_videos.txt',
            data_prefix=dict(video='data/kinetics400/videos_train'),
            pipeline=train_pipeline,
        )
    ),
)
