# AVA v2.2 with ViT-L, after joint pretraining on K400.
_base_ = [
    '../../_base_/models/ava_detector_base.py',
    '../../_base_/datasets/ava_finetune.py',
    '../../_base_/schedules/finetune.py',
    '../../_base_/finetune_runtime.py',
]
default_scope = 'mmaction'

model = dict(
    backbone=dict(
        arch='large',
        drop_path_rate=0.2,  # Table 9
        init_cfg=dict(
            type='Pretrained',
            # Sec. A.2: pretrained on K400
            checkpoint='work_dirs/pretrain_joint_large_k400/epoch_800.pth',
        ),
    ),
    roi_head=dict(
        bbox_head=dict(in_channels=1024, num_classes=_base_.num_classes)
    ),
    data_preprocessor=_base_.preprocessor,
)
optim_wrapper = dict(
    optimizer=dict(lr=2.5e-4),  # Table 9, base lr
    paramwise_cfg=dict(layer_decay=0.75),  # Table 9
)
train_cfg = dict(
    by_epoch=True,
    max_epochs=30,  # Table 9
    val_interval=5,  # chosen: a test is 57k clips, one by one
)

# bfloat16 has few different scores to rank, and NumPy does not know it.
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='bimm_mm.FullPrecisionHook', modules=['roi_head.bbox_head']),
]
