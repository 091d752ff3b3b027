# UCF101 with ViT-B, after MAM2 on UCF101.
# chosen: all settings are those of Table 9, for BIMM.
_base_ = ['../downstream/ucf101/finetune_ucf101.py']

model = dict(
    backbone=dict(
        init_cfg=dict(
            checkpoint='work_dirs/pretrain_mam2_ucf101/epoch_1600.pth'
        )
    )
)
