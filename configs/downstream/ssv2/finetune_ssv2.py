# SSv2 with ViT-B, after joint pretraining on SSv2.
_base_ = [
    '../../_base_/models/recognizer_base.py',
    '../../_base_/datasets/ssv2_finetune.py',
    '../../_base_/schedules/finetune.py',
    '../../_base_/finetune_runtime.py',
]
default_scope = 'mmaction'

model = dict(
    backbone=dict(
        drop_path_rate=0.1,  # Table 9
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/pretrain_joint_ssv2/epoch_800.pth',
        ),
    ),
    cls_head=dict(num_classes=_base_.num_classes),
    data_preprocessor=_base_.preprocessor,
)
optim_wrapper = dict(
    optimizer=dict(lr=5e-4),  # Table 9, base lr
    paramwise_cfg=dict(layer_decay=0.75),  # Table 9
)
train_cfg = dict(by_epoch=True, max_epochs=40)  # Table 9
custom_hooks = [*_base_.custom_hooks, dict(type='bimm_mm.BadVideoHook')]
