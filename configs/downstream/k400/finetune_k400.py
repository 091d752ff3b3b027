# Kinetics-400 with ViT-B, after joint pretraining on K400. The data are loaded
# as UCF101 but for what stands here.
_base_ = [
    '../../_base_/models/recognizer_base.py',
    '../../_base_/datasets/ucf101_finetune.py',
    '../../_base_/schedules/finetune.py',
    '../../_base_/finetune_runtime.py',
]
default_scope = 'mmaction'

num_classes = 400
# Sec. A.2: dense sampling; 16 frames (Table 1), chosen: 4 apart, as in
# pretraining. 5 clips (Table 9).
total_batch_size = 16 * 16  # Table 9 on 16 GPUs
train_dataloader = dict(
    batch_size=16,  # Table 9; videos, each of which gives two clips
    dataset=dict(
        dataset=dict(
            ann_file='data/kinetics400/kinetics400_train_list_videos.txt',
            data_prefix=dict(video='data/kinetics400/videos_train'),
        )
    ),
)
val = dict(
    ann_file='data/kinetics400/kinetics400_val_list_videos.txt',
    data_prefix=dict(video='data/kinetics400/videos_val'),
)
val_dataloader = dict(dataset=val)
test_dataloader = dict(dataset=val)

preprocessor = _base_.preprocessor
mixup, cutmix = preprocessor.blending.augments
mixup.num_classes = cutmix.num_classes = num_classes

model = dict(
    backbone=dict(
        drop_path_rate=0.1,  # Table 9
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
    paramwise_cfg=dict(layer_decay=0.75),  # Table 9
)
train_cfg = dict(by_epoch=True, max_epochs=75)  # Table 9
