# ImageNet-1K with the ventral branch after joint pretraining ("BIMM").
# Sec. 4.2 says dorsal for this row of Table 5, Table 9 and Algorithm 1 say
# ventral: docs/paper_notes.md.
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
            # Sec. 4.2: K400; its epochs as in Sec. A.2, Table 5 has 1600
            checkpoint='work_dirs/pretrain_joint_k400/epoch_800.pth',
        )
    )
)
