# Finetuning on AVA v2.2: one key frame per second, boxes with several actions.
# Frames, as mmaction2's scripts extract them at 30 per second: key frames are
# found by their number, and movies come with other rates.
num_classes = 81  # 80 actions; mmaction2 keeps 0 for the background
data_root = 'data/ava/rawframes'
anno_root = 'data/ava/annotations'
ann_file_train = f'{anno_root}/ava_train_v2.2.csv'
ann_file_val = f'{anno_root}/ava_val_v2.2.csv'
exclude_file_train = f'{anno_root}/ava_train_excluded_timestamps_v2.2.csv'
exclude_file_val = f'{anno_root}/ava_val_excluded_timestamps_v2.2.csv'
# The 60 actions that are evaluated (Sec. A.2).
label_file = f'{anno_root}/ava_action_list_v2.2_for_activitynet_2019.pbtxt'
# chosen: detections that mmaction2 distributes; the paper's are AIA's
proposal_file_val = f'{anno_root}/ava_dense_proposals_val.FAIR.recall_93.9.pkl'
size = 224  # Sec. A.2
short_side = 256  # Sec. A.2: 320 x 256
mean = [123.675, 116.28, 103.53]  # R, G, B of ImageNet, as in pretraining
std = [58.395, 57.12, 57.375]

sample = dict(
    type='SampleAVAFrames',
    clip_len=16,  # Sec. A.2
    frame_interval=4,  # Sec. A.2
    # chosen: no jitter of single frames in training either, as SlowFast
    test_mode=True,
)
pack = [
    dict(type='FormatShape', input_format='NCTHW', collapse=True),
    dict(type='PackActionInputs'),
]
train_pipeline = [
    sample,
    dict(type='RawFrameDecode'),
    dict(type='Resize', scale=(-1, short_side)),
    dict(type='RandomCrop', size=size),  # Sec. A.2
    dict(type='Flip', flip_ratio=0.5),  # Sec. A.2
    # Sec. A.2: "ground-truth human detection boxes as training samples"
    dict(type='bimm_mm.GTBoxesOnly'),
    *pack,
]
val_pipeline = [
    sample,
    dict(type='RawFrameDecode'),
    # chosen: whole frames, not cropped, as SlowFast
    dict(
        type='bimm_mm.ResizeToPatchMultiple',
        short_side=short_side,
        patch_size=16,
    ),
    *pack,
]

total_batch_size = 16 * 16  # Table 9 on 16 GPUs
train_dataloader = dict(
    batch_size=16,  # Table 9
    num_workers=8,  # chosen: cores per GPU of a usual node
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,  # chosen: every step has the full batch
    sampler=dict(type='bimm_mm.EpochSampler', shuffle=True),
    dataset=dict(
        type='bimm_mm.AVAKeyframeDataset',
        dataset=dict(
            type='AVADataset',
            ann_file=ann_file_train,
            exclude_file=exclude_file_train,
            label_file=label_file,
            num_classes=num_classes,
            data_prefix=dict(img=data_root),
            pipeline=train_pipeline,
        ),
    ),
)
val_dataloader = dict(
    batch_size=1,  # mmaction2's AVARoIHead takes no more
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='bimm_mm.AVAKeyframeDataset',
        dataset=dict(
            type='AVADataset',
            ann_file=ann_file_val,
            exclude_file=exclude_file_val,
            label_file=label_file,
            proposal_file=proposal_file_val,
            person_det_score_thr=0.8,  # Sec. A.2
            num_classes=num_classes,
            data_prefix=dict(img=data_root),
            pipeline=val_pipeline,
            test_mode=True,
        ),
    ),
)
val_evaluator = dict(
    type='AVAMetric',
    ann_file=ann_file_val,
    exclude_file=exclude_file_val,
    label_file=label_file,
    num_classes=num_classes,
)
val_cfg = dict()
test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict()

# model.data_preprocessor of the config. Table 9 also lists mixup, cutmix and
# label smoothing for AVA; left out: mixed clips have no boxes of their own,
# and smoothing means one action of many, not several at a time.
preprocessor = dict(
    type='ActionDataPreprocessor',
    _scope_='mmaction',
    mean=mean,
    std=std,
    format_shape='NCTHW',
)
