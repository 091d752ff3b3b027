# Ventral pretraining on frames of UCF101, "UCF101 Init" of Table 7a: what
# differs from clips.
_base_ = './ucf101_pretrain.py'

decode, enlarge, load, crop, pack = _base_.train_pipeline
# An image: stage 1 sees no time.
decode.transforms[1].update(clip_len=1, frame_interval=1)
crop.transforms = [
    # Table 8: random crop; chosen: area and bicubic as MAE
    dict(type='RandomResizedCrop', area_range=(0.2, 1.0)),
    dict(
        type='Resize',
        scale=(_base_.size, _base_.size),
        keep_ratio=False,
        interpolation='bicubic',
    ),
    # Table 8, IN-1K: no random flip
]
train_pipeline = [decode, load, crop, pack]

total_batch_size = 128 * 16  # Table 8 on 16 GPUs
train_dataloader = dict(
    batch_size=128,  # Table 8, IN-1K
    dataset=dict(dataset=dict(pipeline=train_pipeline)),
)
