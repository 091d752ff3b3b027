# UCF101 for methods that need no contours: what differs from BIMM's data.
_base_ = './ucf101_pretrain.py'

decode, enlarge, load, crop, pack = _base_.train_pipeline
decode.transforms.pop(2)  # no contours whose frames are to be met
crop.transforms.pop()  # as VideoMAE's code: no random flip
train_pipeline = [decode, enlarge, crop, pack]

total_batch_size = 192  # VideoMAE's code
train_dataloader = dict(
    batch_size=24,  # VideoMAE's code: 192 in all, here on 8 GPUs
    dataset=dict(dataset=dict(pipeline=train_pipeline)),
)
