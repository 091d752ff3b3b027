# Ours, not the paper's: motion between each sampled frame and the next
# frame of the video, not the next sampled one.
_base_ = '../_base_/ablation_ucf101.py'

mt = dict(
    _base_.dorsal.areas[-1],
    target=dict(type='bimm_mm.MotionTarget', neighbors='decoded'),
)
model = dict(dorsal=dict(areas=[*_base_.dorsal.areas[:-1], mt]))
guarded, enlarge, load, crop, pack = _base_.train_pipeline
# The next frames are decoded with the others. They have no contours and need
# none: they get the nearest, which no target reads.
init, sample, grid, decode = guarded.transforms
following = dict(type='bimm_mm.AppendFollowing')
guarded = dict(guarded, transforms=[init, sample, grid, following, decode])
load = dict(load, nearest=True)
train_pipeline = [guarded, enlarge, load, crop, pack]
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
data_preprocessor = dict(following=True)
