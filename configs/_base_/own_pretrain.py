# Pretraining on your own videos: data, schedule and runtime. What differs from
# UCF101 is what configs/own/data.py says.
_base_ = [
    '../own/data.py',
    './datasets/ucf101_pretrain.py',
    './schedules/pretrain.py',
    './default_runtime.py',
]

size = (_base_.image_size, _base_.image_size)
train_pipeline = _base_.train_pipeline
decode, enlarge, load, crop, pack = train_pipeline
_, sample, snap, _ = decode.transforms
sample.update(clip_len=_base_.frames, frame_interval=_base_.interval)
snap.update(contour_root=_base_.contour_files)
enlarge.update(size=_base_.image_size)
load.update(contour_root=_base_.contour_files, data_root=_base_.root)
crop.transforms[0].update(input_size=_base_.image_size)
crop.transforms[1].update(scale=size)

total_batch_size = None  # what the GPUs have
train_dataloader = dict(
    batch_size=_base_.batch_size,
    num_workers=4,  # chosen: a desktop's
    drop_last=False,  # chosen: of few videos none is left out
    dataset=dict(
        dataset=dict(
            ann_file=_base_.lists['train'],
            delimiter=_base_.delimiter,
            data_prefix=dict(video=_base_.root),
            pipeline=train_pipeline,
        )
    ),
)
# chosen: the rate of batches of 64, for larger and smaller ones in proportion
optim_wrapper = dict(optimizer=dict(lr=6e-4))
auto_scale_lr = dict(base_batch_size=64)
# Table 8: 40 epochs of warm-up; chosen: of a short run a tenth
epochs = _base_.epochs['pretrain']
warmup_epochs = min(40, max(1, epochs // 10), epochs - 1)
warmup, cosine = _base_.param_scheduler
warmup.update(end=warmup_epochs)
cosine.update(begin=warmup_epochs)
param_scheduler = [warmup, cosine] if warmup_epochs else [cosine]
train_cfg = dict(by_epoch=True, max_epochs=epochs)
# chosen: ten checkpoints or more
default_hooks = dict(checkpoint=dict(interval=min(20, max(1, epochs // 10))))
