# Ours, not the paper's: Sobel edges computed on the device, no contour files.
# The joint stage alone differs.
_base_ = '../_base_/ablation_ucf101.py'

v2 = dict(_base_.v2, target=dict(type='bimm_mm.ContourTarget', source='sobel'))
model = dict(
    ventral=dict(areas=[_base_.v1, v2, _base_.ventral.areas[-1]]),
    dorsal=dict(areas=[_base_.v1, v2, _base_.dorsal.areas[-1]]),
)
decode, enlarge, load, crop, pack = _base_.train_pipeline
decode.transforms.pop(2)  # no contours whose frames are to be met
train_pipeline = [decode, enlarge, crop, pack]
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
