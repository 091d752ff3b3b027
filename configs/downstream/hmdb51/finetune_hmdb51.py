# HMDB51, split 1, with ViT-B, after joint pretraining on K400. The data are
# loaded as UCF101 but for what stands here.
_base_ = [
    '../../_base_/models/recognizer_base.py',
    '../../_base_/datasets/ucf101_finetune.py',
    '../../_base_/schedules/finetune.py',
    '../../_base_/finetune_runtime.py',
]
default_scope = 'mmaction'

num_classes = 51
videos = dict(video='data/hmdb51/videos')
ann_file_val = 'data/hmdb51/hmdb51_val_split_1_videos.txt'

frame_interval = 2  # Sec. A.2
train_pipeline = _base_.train_pipeline
val_pipeline = _base_.val_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[0].transforms[1].update(frame_interval=frame_interval)
val_pipeline[0].transforms[1].update(frame_interval=frame_interval)
test_pipeline[0].transforms[1].update(
    frame_interval=frame_interval,
    num_clips=10,  # Table 9
)

train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            ann_file='data/hmdb51/hmdb51_train_split_1_videos.txt',
            data_prefix=videos,
            pipeline=train_pipeline,
        )
    )
)
val = dict(ann_file=ann_file_val, data_prefix=videos)
val_dataloader = dict(dataset=dict(val, pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(val, pipeline=test_pipeline))

preprocessor = _base_.preprocessor
mixup, cutmix = preprocessor.blending.augments
mixup.num_classes = cutmix.num_classes = num_classes

model = dict(
    backbone=dict(
        drop_path_rate=0.2,  # Table 9
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/pretrain_joint_k400/epoch_800.pth',
        ),
    ),
    cls_head=dict(num_classes=num_classes),
    data_preprocessor=preprocessor,
)
optim_wrapper = dict(
    optimizer=dict(lr=1e-3),  # Table 9, base lr
    paramwise_cfg=dict(layer_decay=0.7),  # Table 9
)
train_cfg = dict(by_epoch=True, max_epochs=50)  # Table 9
