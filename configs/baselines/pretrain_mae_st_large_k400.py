# MAE-ST with ViT-L on Kinetics-400: what differs from ViT-B.
_base_ = './pretrain_mae_st_k400.py'

model = dict(
    backbone=dict(arch='large'),
    areas=[dict(_base_.model.areas[0], after_block=24)],
)
