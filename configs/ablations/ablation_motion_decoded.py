# Ours, not the paper's: motion between each sampled frame and the next
# frame of the video, not the next sampled one.
_base_ = '../_base_/ablation_ucf101.py'

mt = dict(
    _base_.dorsal.areas[-1],
    target=dict(type='bimm_mm.MotionTarget', neighbors='decoded'),
)
model = dict(dorsal=dict(areas=[*_base_.dorsal.areas[:-1], mt]))
# The next frames are decoded with the others. They have no contours and need
# none: they get the nearest, which no target reads.
train_pipeline = _base_.train_pipeline
decode, enlarge, load, crop, pack = train_pipeline
decode.transforms.insert(3, dict(type='bimm_mm.AppendFollowing'))
load.update(nearest=True)
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
data_preprocessor = dict(following=True)
