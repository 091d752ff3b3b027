# Ours, not the paper's: contours of another detector (structured edges),
# from files in a folder of their own. The joint stage alone differs.
_base_ = '../_base_/ablation_ucf101.py'

contour_root = 'data/ucf101/contours_structured'
guarded, enlarge, load, crop, pack = _base_.train_pipeline
init, sample, grid, decode = guarded.transforms
grid = dict(grid, contour_root=contour_root)
guarded = dict(guarded, transforms=[init, sample, grid, decode])
load = dict(load, contour_root=contour_root, detector='structured')
train_pipeline = [guarded, enlarge, load, crop, pack]
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
