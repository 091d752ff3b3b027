# MAE-ST with ViT-B on Kinetics-400; what is exact: see the model.
_base_ = [
    '../_base_/models/mae_st_base.py',
    '../_base_/datasets/ucf101_pretrain.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

repeats = 4  # MAE-ST's code
# MAE-ST's code: not ImageNet's
data_preprocessor = dict(mean=[114.75] * 3, std=[57.375] * 3)

decode = _base_.train_pipeline[0]
decode.transforms.pop(2)  # no contours whose frames are to be met
train_pipeline = [
    decode,
    dict(
        type='bimm_mm.RepeatCrops',
        num=repeats,
        transforms=[
            # MAE-ST's code: half of the area or more, and flips
            dict(type='RandomResizedCrop', area_range=(0.5, 1.0)),
            dict(
                type='Resize',
                scale=(_base_.size, _base_.size),
                keep_ratio=False,
            ),
            dict(type='Flip', flip_ratio=0.5),
        ],
    ),
    dict(type='bimm_mm.PackClipInputs'),
]
total_batch_size = 512  # chosen: videos, as its code
train_dataloader = dict(
    batch_size=8,  # chosen: 512 videos in all on 64 GPUs
    dataset=dict(
        dataset=dict(
            ann_file='data/kinetics400/kinetics400_train_list_videos.txt',
            data_prefix=dict(video='data/kinetics400/videos_train'),
            pipeline=train_pipeline,
        )
    ),
)
optim_wrapper = dict(
    optimizer=dict(lr=1.6e-3),  # MAE-ST's code: base lr
    clip_grad=dict(max_norm=0.02),  # MAE-ST's code
    # MAE-ST's code: tokens decay
    paramwise_cfg=dict(custom_keys=dict(_delete_=True)),
)
# chosen: warm-up, betas and weight decay as Table 8
train_cfg = dict(
    by_epoch=True,
    max_epochs=1600 // repeats,  # Table 1: 1600
)
