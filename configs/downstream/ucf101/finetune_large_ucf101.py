# UCF101 with ViT-L: what differs from ViT-B.
_base_ = './finetune_ucf101.py'

model = dict(
    backbone=dict(
        arch='large',
        # chosen: 10 instead of 46 GiB for 16 videos (docs/downstream.md)
        with_cp=True,
        init_cfg=dict(
            checkpoint='work_dirs/pretrain_joint_large_ucf101/epoch_1600.pth'
        ),
    ),
    cls_head=dict(in_channels=1024),
)
