# Kinetics-400 with ViT-B, after MAM2 on K400.
# chosen: all settings are those of Table 9, for BIMM.
_base_ = ['../downstream/k400/finetune_k400.py']

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='work_dirs/pretrain_mam2_k400/epoch_400.pth')
    )
)
