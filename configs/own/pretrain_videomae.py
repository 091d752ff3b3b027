# VideoMAE on your own videos; what is exact: see the model.
_base_ = ['../_base_/models/videomae_base.py', '../_base_/own_pretrain.py']

model = dict(
    backbone=dict(img_size=_base_.image_size, num_frames=_base_.frames)
)
decode, enlarge, load, crop, pack = _base_.train_pipeline
decode.transforms.pop(2)  # no contours whose frames are to be met
train_pipeline = [decode, enlarge, crop, pack]
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
