# Stage 2 of BIMM on your own videos: both branches (Algorithm 1, lines 6-12).
_base_ = ['../_base_/models/bimm_base.py', '../_base_/own_pretrain.py']

encoder = dict(img_size=_base_.image_size)
model = dict(
    ventral=dict(backbone=encoder),
    dorsal=dict(backbone=dict(encoder, num_frames=_base_.frames)),
    ventral_checkpoint='work_dirs/pretrain_ventral/epoch_400.pth',
)
