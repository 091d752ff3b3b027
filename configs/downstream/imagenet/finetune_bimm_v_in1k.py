# ImageNet-1K with the ventral branch trained alone ("BIMM-V", Table 5).
_base_ = [
    '../../_base_/models/image_classifier_base.py',
    '../../_base_/datasets/in1k_finetune.py',
    '../../_base_/schedules/finetune_in1k.py',
    '../../_base_/finetune_runtime.py',
]
default_scope = 'mmpretrain'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/pretrain_ventral_in1k/epoch_800.pth',
        )
    )
)
