# ImageNet-1K for methods that need no contours: what differs from BIMM's.
_base_ = './in1k_pretrain.py'

read, load, crop, pack = _base_.train_pipeline
# Area and bicubic as MAE's code
crop.transforms[0].update(
    backend='pillow',  # as MAE; OpenCV's bicubic has no filter
)
crop.transforms.append(dict(type='RandomFlip', prob=0.5))  # as MAE's code
train_pipeline = [read, crop, pack]

total_batch_size = 4096  # MAE
train_dataloader = dict(
    batch_size=64,  # as MAE: 4096 in all, here on 64 GPUs
    dataset=dict(dataset=dict(pipeline=train_pipeline)),
)
