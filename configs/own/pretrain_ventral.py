# Stage 1 of BIMM on your own videos: the ventral branch, on single frames.
_base_ = ['../_base_/models/bimm_base.py', '../_base_/own_pretrain.py']

ventral = dict(_base_.ventral)
ventral['backbone'].update(img_size=_base_.image_size)
model = dict(_delete_=True, type='bimm_mm.MaskedBranch', **ventral)
train_pipeline = _base_.train_pipeline
train_pipeline[0].transforms[1].update(clip_len=1, frame_interval=1)  # images
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
