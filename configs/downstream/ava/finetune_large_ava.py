# AVA v2.2 with ViT-L: what differs from ViT-B.
_base_ = './finetune_ava.py'

model = dict(
    backbone=dict(
        arch='large',
        init_cfg=dict(
            checkpoint='work_dirs/pretrain_joint_large_k400/epoch_800.pth'
        ),
    ),
    roi_head=dict(bbox_head=dict(in_channels=1024)),
)
