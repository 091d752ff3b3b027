# HMDB51 with ViT-B, after MAM2 on UCF101.
# chosen: all settings are those of Table 9, for BIMM.
# chosen: pretraining on UCF101. The abstract does not name the data of its
# 62.5 %; VideoMAE has 62.6 % after UCF101 and 73.3 % after K400 (Table 10).
_base_ = ['../downstream/hmdb51/finetune_hmdb51.py']

model = dict(
    backbone=dict(
        init_cfg=dict(
            checkpoint='work_dirs/pretrain_mam2_ucf101/epoch_1600.pth'
        )
    )
)
