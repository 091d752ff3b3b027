# MAM2 with ViT-B on Kinetics-400; what is public of it: see the model.
# chosen: schedule, batch and learning rate of VideoMAE's baseline.
_base_ = [
    '../_base_/models/mam2_base.py',
    '../_base_/datasets/k400_clips.py',
    '../_base_/schedules/pretrain.py',
    '../_base_/default_runtime.py',
]

optim_wrapper = dict(optimizer=dict(lr=1.5e-4))  # chosen: as VideoMAE
train_cfg = dict(by_epoch=True, max_epochs=400)  # abstract
