# ADE20K with UperNet on the ventral branch.
_base_ = [
    '../../_base_/models/upernet_base.py',
    'mmseg::_base_/datasets/ade20k.py',
    '../../_base_/schedules/finetune.py',
    '../../_base_/finetune_runtime.py',
]
default_scope = 'mmseg'
# 512 x 512 (Sec. A.1). The pictures are scaled by 0.5 to 2, cropped, flipped
# and changed in color; chosen: as MAE.
crop_size = _base_.crop_size
num_classes = 150  # of the benchmark, of Sec. A.1's 2600 categories

data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],  # chosen: as MAE
    std=[58.395, 57.12, 57.375],  # chosen: as MAE
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
    size=crop_size,
    # chosen: a picture that is longer than 4:1 is padded to one window, as
    # patches do not divide its short side
    test_cfg=dict(size=crop_size),
)
model = dict(
    backbone=dict(
        img_size=crop_size,  # Sec. A.1
        init_cfg=dict(
            type='Pretrained',
            # chosen: the video data of BIMM in Table 5
            checkpoint='work_dirs/pretrain_joint_k400/epoch_800.pth',
        ),
    ),
    decode_head=dict(num_classes=num_classes),
    auxiliary_head=dict(num_classes=num_classes),
    # chosen: as MAE; windows overlap by a third
    test_cfg=dict(mode='slide', crop_size=crop_size, stride=(341, 341)),
)

total_batch_size = 16  # Sec. A.1
train_dataloader = dict(
    batch_size=2,  # chosen: Sec. A.1's 16 on 8 GPUs
    sampler=dict(type='bimm_mm.EndlessSampler'),
)
optim_wrapper = dict(
    # Sec. A.1 has the weight decay of Table 9, 0.05
    optimizer=dict(lr=4e-4),  # Sec. A.1
    paramwise_cfg=dict(layer_decay=0.65),  # chosen: as MAE
)
auto_scale_lr = dict(base_batch_size=16)  # Sec. A.1

# In iterations, in place of the schedule in epochs of the other benchmarks.
warmup_iters = 1500  # Sec. A.1
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,  # chosen: as MAE
        by_epoch=False,
        end=warmup_iters,
    ),
    dict(
        type='PolyLR',
        power=1.0,  # Sec. A.1: linear
        by_epoch=False,
        begin=warmup_iters,
    ),
]
train_cfg = dict(
    type='IterBasedTrainLoop',
    max_iters=160_000,  # Sec. A.1
    val_interval=16_000,  # chosen: as MAE
)
val_cfg = dict()
test_cfg = dict()

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    # chosen: a run that is killed loses at most 1.6 epochs
    checkpoint=dict(by_epoch=False, interval=2_000, save_best='mIoU'),
)
log_processor = dict(by_epoch=False)
