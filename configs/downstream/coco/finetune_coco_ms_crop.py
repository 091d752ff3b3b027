# COCO as mmdet's ms-crop-3x of Swin, whose schedule and optimizer are those
# of Sec. A.1 (36 epochs, steps at 27 and 33, AdamW at 1e-4, decay 0.05): what
# differs from large-scale jitter.
_base_ = './finetune_coco.py'

# Pictures differ in size, and windows at their borders are masked. They are
# not grouped by shape as in mmdet: a killed run goes on within an epoch.
model = dict(data_preprocessor=dict(pad_size_divisor=32))

longest = 1333
short_sides = [(side, longest) for side in range(480, 801, 32)]
load, annotate, *_, pack = _base_.train_pipeline
resize = dict(type='RandomChoiceResize', scales=short_sides, keep_ratio=True)
train_pipeline = [
    load,
    annotate,
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomChoice',
        transforms=[
            [resize],
            [
                dict(
                    type='RandomChoiceResize',
                    scales=[(side, longest) for side in (400, 500, 600)],
                    keep_ratio=True,
                ),
                dict(
                    type='RandomCrop',
                    crop_type='absolute_range',
                    crop_size=(384, 600),
                    allow_negative_crop=True,
                ),
                resize,
            ],
        ],
    ),
    pack,
]
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(longest, 800))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
