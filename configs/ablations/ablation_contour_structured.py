# Ours, not the paper's: contours of another detector (structured edges),
# from files in a folder of their own. The joint stage alone differs.
_base_ = '../_base_/ablation_ucf101.py'

contour_root = 'data/ucf101/contours_structured'
train_pipeline = _base_.train_pipeline
decode, enlarge, load, crop, pack = train_pipeline
decode.transforms[2].update(contour_root=contour_root)
load.update(contour_root=contour_root, detector='structured')
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
