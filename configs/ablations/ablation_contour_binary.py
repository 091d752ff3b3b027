# Ours, not the paper's: contours are the outermost pixels of SAM's masks, and
# all are of equal strength. The joint stage alone differs. The files come
# from tools/extract_contours.py with --detector-options boundary=binary.
_base_ = '../_base_/ablation_ucf101.py'

contour_root = 'data/ucf101/contours_binary'
train_pipeline = _base_.train_pipeline
decode, enlarge, load, crop, pack = train_pipeline
decode.transforms[2].update(contour_root=contour_root)
load.update(contour_root=contour_root, options=dict(boundary='binary'))
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
