# SSv2 with ViT-B, after joint pretraining on SSv2. The data are loaded as
# UCF101 but for what stands here.
_base_ = [
    '../../_base_/models/recognizer_base.py',
    '../../_base_/datasets/ucf101_finetune.py',
    '../../_base_/schedules/finetune.py',
    '../../_base_/finetune_runtime.py',
]
default_scope = 'mmaction'

num_classes = 174
videos = dict(video='data/sthv2/videos')

# Sec. A.2: uniform, as TSN: one frame of each of 16 segments
sample = dict(type='UniformSample', clip_len=16)
train_pipeline = _base_.train_pipeline
val_pipeline = _base_.val_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[0].transforms[1] = sample
val_pipeline[0].transforms[1] = dict(sample, num_clips=1, test_mode=True)
test_pipeline[0].transforms[1] = dict(
    sample,
    num_clips=2,  # Table 9
    test_mode=True,
)
train_pipeline[1].transforms.pop(3)  # Table 9: no random flip

total_batch_size = 16 * 16  # Table 9 on 16 GPUs
train_dataloader = dict(
    batch_size=16,  # Table 9; videos, each of which gives two clips
    dataset=dict(
        dataset=dict(
            ann_file='data/sthv2/sthv2_train_list_videos.txt',
            data_prefix=videos,
            pipeline=train_pipeline,
        )
    ),
)
val = dict(ann_file='data/sthv2/sthv2_val_list_videos.txt', data_prefix=videos)
val_dataloader = dict(dataset=dict(val, pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(val, pipeline=test_pipeline))

preprocessor = _base_.preprocessor
mixup, cutmix = preprocessor.blending.augments
mixup.num_classes = cutmix.num_classes = num_classes

model = dict(
    backbone=dict(
        drop_path_rate=0.1,  # Table 9
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/pretrain_joint_ssv2/epoch_800.pth',
        ),
    ),
    cls_head=dict(num_classes=num_classes),
    data_preprocessor=preprocessor,
)
optim_wrapper = dict(
    optimizer=dict(lr=5e-4),  # Table 9, base lr
    paramwise_cfg=dict(layer_decay=0.75),  # Table 9
)
train_cfg = dict(by_epoch=True, max_epochs=40)  # Table 9
