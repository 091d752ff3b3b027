# HMDB51 with ViT-B, after joint pretraining on K400.
_base_ = [
    '../../_base_/models/recognizer_base.py',
    '../../_base_/datasets/hmdb51_finetune.py',
    '../../_base_/schedules/finetune.py',
    '../../_base_/finetune_runtime.py',
]
default_scope = 'mmaction'

model = dict(
    backbone=dict(
        drop_path_rate=0.2,  # Table 9
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/pretrain_joint_k400/epoch_800.pth',
        ),
    ),
    cls_head=dict(num_classes=_base_.num_classes),
    data_preprocessor=_base_.preprocessor,
)
optim_wrapper = dict(
    optimizer=dict(lr=1e-3),  # Table 9, base lr
    paramwise_cfg=dict(layer_decay=0.7),  # Table 9
)
train_cfg = dict(by_epoch=True, max_epochs=50)  # Table 9
custom_hooks = [*_base_.custom_hooks, dict(type='bimm_mm.BadVideoHook')]
