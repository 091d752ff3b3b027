# SSv2 with ViT-B, after MAM2 on SSv2.
# chosen: all settings are those of Table 9, for BIMM.
_base_ = ['../downstream/ssv2/finetune_ssv2.py']

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='work_dirs/pretrain_mam2_ssv2/epoch_1200.pth')
    )
)
