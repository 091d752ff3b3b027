# Classes of your own videos, on the dorsal branch (Sec. A.2), ViT-B. What
# differs from UCF101 is what data.py says; another size: arch and in_channels.
_base_ = [
    './data.py',
    '../_base_/models/recognizer_base.py',
    '../_base_/datasets/ucf101_finetune.py',
    '../_base_/schedules/finetune.py',
    '../_base_/finetune_runtime.py',
]
default_scope = 'mmaction'

side = _base_.image_size
sampling = dict(clip_len=_base_.frames, frame_interval=_base_.interval)
preprocessor = _base_.preprocessor
topk = (1, 5) if _base_.classes > 5 else (1,)  # of what is counted
for blending in preprocessor.blending.augments:
    blending.update(num_classes=_base_.classes)
model = dict(
    backbone=dict(
        img_size=side,
        num_frames=_base_.frames,
        drop_path_rate=0.2,  # Table 9, UCF101
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/pretrain_joint/epoch_400.pth',
        ),
    ),
    cls_head=dict(num_classes=_base_.classes, topk=topk),
    data_preprocessor=preprocessor,
)
custom_hooks = [
    *_base_.custom_hooks,
    # NumPy counts hits, and has no bfloat16.
    dict(type='bimm_mm.FullPrecisionHook', modules=['cls_head']),
]
val_evaluator = dict(metric_options=dict(top_k_accuracy=dict(topk=topk)))
test_evaluator = val_evaluator

for pipeline in (
    _base_.train_pipeline,
    _base_.val_pipeline,
    _base_.test_pipeline,
):
    pipeline[0].transforms[1].update(sampling)
_base_.train_pipeline[1].transforms[2].update(scale=(side, side))
for pipeline in (_base_.val_pipeline, _base_.test_pipeline):
    pipeline[1].update(scale=(-1, side))
    pipeline[2].update(crop_size=side)
loaders = dict(num_workers=4)  # chosen: a desktop's
listed = dict(data_prefix=dict(video=_base_.root), delimiter=_base_.delimiter)
validation = dict(listed, ann_file=_base_.lists['val'])
total_batch_size = None  # what the GPUs have
train_dataloader = dict(
    loaders,
    batch_size=_base_.batch_size,
    drop_last=False,  # chosen: of few videos none is left out
    dataset=dict(
        dataset=dict(
            listed,
            ann_file=_base_.lists['train'],
            pipeline=_base_.train_pipeline,
        )
    ),
)
val_dataloader = dict(
    loaders, dataset=dict(validation, pipeline=_base_.val_pipeline)
)
test_dataloader = dict(
    loaders, dataset=dict(validation, pipeline=_base_.test_pipeline)
)
optim_wrapper = dict(
    # chosen: the rate of batches of 32, for others in proportion
    optimizer=dict(lr=5e-4),
    paramwise_cfg=dict(layer_decay=0.7),  # Table 9, UCF101
)
auto_scale_lr = dict(base_batch_size=32)
# Table 9: 5 epochs of warm-up; chosen: of a short run a tenth
epochs = _base_.epochs['finetune']
warmup_epochs = min(5, max(1, epochs // 10), epochs - 1)
warmup, cosine = _base_.param_scheduler
warmup.update(end=warmup_epochs)
cosine.update(begin=warmup_epochs)
param_scheduler = [warmup, cosine] if warmup_epochs else [cosine]
train_cfg = dict(by_epoch=True, max_epochs=epochs)
