# OmniMAE with ViT-B on ImageNet-1K and SSv2 (Girdhar et al., 2023); what is
# exact: see the model.
_base_ = [
    '../_base_/models/omnimae_base.py',
    '../_base_/datasets/in1k_k400_mixed.py',
    '../_base_/schedules/pretrain_omnimae.py',
    '../_base_/default_runtime.py',
]

images, videos = _base_.train_dataloader.dataset.datasets
videos.dataset.update(
    ann_file='data/sthv2/sthv2_train_list_videos.txt',
    data_prefix=dict(video='data/sthv2/videos'),
)
sample = videos.dataset.pipeline[0].transforms[1]
sample.update(frame_interval=2)  # OmniMAE's code: 16 frames of 2.7 seconds
train_dataloader = dict(dataset=dict(datasets=[images, videos]))
