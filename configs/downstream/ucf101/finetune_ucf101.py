# UCF101 with ViT-B, after joint pretraining on UCF101.
_base_ = [
    '../../_base_/models/recognizer_base.py',
    '../../_base_/datasets/ucf101_finetune.py',
    '../../_base_/schedules/finetune.py',
    '../../_base_/finetune_runtime.py',
]
default_scope = 'mmaction'

model = dict(
    backbone=dict(
        drop_path_rate=0.2,  # Table 9
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/pretrain_joint_ucf101/epoch_1600.pth',
        ),
    ),
    cls_head=dict(num_classes=_base_.num_classes),
    data_preprocessor=_base_.preprocessor,
)
optim_wrapper = dict(
    optimizer=dict(lr=5e-4),  # Table 9, base lr
    paramwise_cfg=dict(layer_decay=0.7),  # Table 9
)
train_cfg = dict(by_epoch=True, max_epochs=100)  # Table 9
