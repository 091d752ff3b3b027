# ImageNet-1K with the ventral branch after joint pretraining ("BIMM").
# Sec. 4.2 says dorsal for this row of Table 5, Table 9 and Algorithm 1 say
# ventral: docs/paper_notes.md.
_base_ = './finetune_bimm_v_in1k.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            # Sec. 4.2: K400; its epochs as in Sec. A.2, Table 5 has 1600
            checkpoint='work_dirs/pretrain_joint_k400/epoch_800.pth',
        )
    )
)
