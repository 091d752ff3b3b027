"""AVA: annotated boxes train, confident detections test."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn
from torchvision.ops import roi_align

from bimm_mm.registry import DATASETS, MODELS

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'downstream'
CONFIG = CONFIGS / 'ava' / 'finetune_ava.py'
_TOY = dict(embed_dims=192, depth=6, num_heads=3)
_VIDEO = dict(type='bimm_mm.VideoInit')


def _on_videos(pipeline: list[dict]) -> list[dict]:
    """The pipeline of a config on small videos instead of frames."""
    pipeline = copy.deepcopy(pipeline)
    for step in pipeline:
        if step['type'] == 'SampleAVAFrames':
            step['clip_len'] = 8
        if step['type'] == 'RawFrameDecode':
            step['type'] = 'bimm_mm.VideoDecode'
        if step['type'] == 'Resize':
            step['scale'] = (-1, 72)
        if step['type'] == 'RandomCrop':
            step['size'] = 64
        if step['type'] == 'bimm_mm.ResizeToPatchMultiple':
            step.update(short_side=64, patch_size=8)
    return [_VIDEO, *pipeline]


def _dataset(cfg: dict, data_root: Path, split: str, count: int) -> dict:
    """The dataset of a config on ``ava_mini``."""
    annotations = data_root / 'ava_mini' / 'annotations'
    cfg = copy.deepcopy(cfg)
    cfg['dataset'].update(
        ann_file=str(annotations / f'ava_mini_{split}.csv'),
        exclude_file=str(annotations / 'ava_mini_excluded_timestamps.csv'),
        label_file=str(annotations / 'ava_mini_action_list.pbtxt'),
        num_classes=8,
        data_prefix=dict(
            img=str(data_root / 'action_mini' / 'ut_interaction' / 'videos')
        ),
        use_frames=False,
        start_index=0,
        timestamp_start=0,
        timestamp_end=10,
        indices=count,
        pipeline=_on_videos(cfg['dataset']['pipeline']),
    )
    if split == 'val':
        cfg['dataset'].update(
            proposal_file=str(annotations / 'ava_mini_proposals_val.pkl'),
            person_det_score_thr=0.5,
        )
    return cfg


def _shrink(cfg: Config, data_root: Path, arch: dict) -> None:
    """The full-size config at the quickstart's size, on ``ava_mini``."""
    cfg.model.backbone.update(
        num_frames=8, interpolate_from=(8, 64, 64), **arch
    )
    cfg.model.roi_head.bbox_roi_extractor.featmap_stride = 8
    cfg.model.roi_head.bbox_head.update(in_channels=192, num_classes=8)
    loaders = [
        ('train', cfg.train_dataloader, 12),
        ('val', cfg.val_dataloader, 10),
        ('val', cfg.test_dataloader, 10),
    ]
    for split, loader, count in loaders:
        loader.dataset = _dataset(loader.dataset, data_root, split, count)
    cfg.train_dataloader.batch_size = 4
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.num_classes = 8
        for key in ('ann_file', 'exclude_file', 'label_file'):
            evaluator[key] = cfg.val_dataloader.dataset.dataset[key]
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.param_scheduler = []


@pytest.fixture
def toy_cfg(full_config, data_root) -> Config:
    """The toy config, not pretrained."""
    cfg = full_config(CONFIG)
    arch = dict(arch=_TOY, img_size=64, patch_size=8)
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint=None)
    _shrink(cfg, data_root, arch)
    return cfg


def test_toy_run(toy_config, toy_arch, train, evaluate, data_root, tmp_path):
    path = toy_config(CONFIG, lambda cfg: _shrink(cfg, data_root, toy_arch))
    said = train(path, '--amp')
    assert 'dorsal.backbone' in said
    assert 'loss_action_cls' in said
    result = evaluate(path, tmp_path / 'work/epoch_1.pth', '--amp')
    # All of the toy's actions are numbered as movements of a person.
    for name in ('mAP/overall', 'mAP/person_movement'):
        assert 0 <= result[name] <= 1


def _model(cfg: Config) -> nn.Module:
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


def _record(module: nn.Module) -> list[Tensor]:
    """Boxes from which features are taken, (k, 5): clip, x1, y1, x2, y2."""
    seen: list[Tensor] = []
    module.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    return seen


def _actions(path: str) -> dict[str, list[set[int]]]:
    """By key frame, the actions of each person, read without mmaction2."""
    people: dict[str, dict[tuple, set[int]]] = {}
    for row in Path(path).read_text().splitlines():
        video, second, *box, action, _ = row.split(',')
        frame = people.setdefault(f'{video},{second}', {})
        frame.setdefault(tuple(box), set()).add(int(action))
    return {frame: list(boxes.values()) for frame, boxes in people.items()}


def test_training_samples_are_the_annotated_boxes(toy_cfg: Config) -> None:
    dataset = DATASETS.build(toy_cfg.train_dataloader.dataset)
    batch = pseudo_collate([dataset[index] for index in range(6)])
    model = _model(toy_cfg).train()
    data = model.data_preprocessor(batch, training=True)
    truth = [sample.gt_instances for sample in data['data_samples']]
    seen = _record(model.roi_head.bbox_roi_extractor)
    head = model.roi_head.bbox_head
    targets: list[Tensor] = []
    get_targets = head.get_targets

    def recorded(*args: object) -> tuple:
        found = get_targets(*args)
        targets.append(found[0])
        return found

    head.get_targets = recorded
    losses = model(**data, mode='loss')

    expected = [
        torch.cat([boxes.new_full((len(boxes), 1), clip), boxes], dim=1)
        for clip, boxes in enumerate(instances.bboxes for instances in truth)
    ]
    assert torch.equal(seen[0], torch.cat(expected))
    labels = torch.cat([instances.labels for instances in truth])
    assert torch.equal(targets[0], labels)
    assert losses['loss_action_cls'].isfinite()
    # The actions are those of the file, not only those of the pipeline.
    listed = _actions(toy_cfg.train_dataloader.dataset.dataset.ann_file)
    for sample in batch['data_samples']:
        people = listed[sample.img_key]
        labels = sample.gt_instances.labels
        assert 1 <= len(labels) <= len(people)
        for label in labels:
            assert set(label.nonzero().flatten().tolist()) in people


def test_equal_boxes_keep_their_own_actions(toy_cfg: Config) -> None:
    dataset = DATASETS.build(toy_cfg.train_dataloader.dataset)
    batch = pseudo_collate([dataset[0]])
    truth = batch['data_samples'][0].gt_instances
    twice = type(truth)()
    twice.bboxes = torch.tensor([[0.0, 0.0, 63.0, 63.0]] * 2)
    twice.labels = torch.eye(8)[[1, 5]]
    batch['data_samples'][0].gt_instances = twice
    model = _model(toy_cfg).train()
    head = model.roi_head.bbox_head
    with torch.no_grad():
        # Certain of action 1 for both boxes: right once, wrong once.
        head.fc_cls.weight.zero_()
        head.fc_cls.bias.copy_(torch.tensor([-9.0, 9, *[-9.0] * 6]))
    data = model.data_preprocessor(batch, training=True)
    loss = model(**data, mode='loss')['loss_action_cls']
    # 14 logits of 9: two of the second box are wrong.
    small, large = np.log1p(np.exp(-9)), np.log1p(np.exp(9))
    expected = (12 * small + 2 * large) / 14
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_features_of_a_wider_frame(toy_cfg: Config) -> None:
    model = _model(toy_cfg).eval()
    dataset = DATASETS.build(toy_cfg.test_dataloader.dataset)
    batch = pseudo_collate([dataset[0]])
    batch['inputs'] = [torch.randint(0, 256, (3, 8, 64, 88)).byte()]
    sample = batch['data_samples'][0]
    sample.set_metainfo(dict(img_shape=(64, 88)))
    shares = torch.tensor([[0.1, 0.1, 0.6, 0.9], [0.7, 0.0, 1.0, 1.0]])
    boxes = shares * torch.tensor([88.0, 64, 88, 64])
    sample.proposals.bboxes = boxes.clone()
    features: list[Tensor] = []
    model.roi_head.bbox_roi_extractor.register_forward_hook(
        lambda *args: features.append(args[2][0])
    )
    with torch.no_grad():
        data = model.data_preprocessor(batch)
        (feature_map,) = model.backbone(data['inputs'])
        predicted = model(**data, mode='predict')[0].pred_instances
    assert feature_map.shape == (1, 192, 4, 8, 11)
    expected = roi_align(
        feature_map.mean(dim=2), [boxes], 8, spatial_scale=1 / 8, aligned=True
    )
    assert features[0].shape == (2, 192, 1, 8, 8)
    torch.testing.assert_close(features[0][:, :, 0], expected)
    # The metric gets each box back as it was detected, in shares.
    torch.testing.assert_close(predicted.bboxes, shares)
    assert predicted.scores.shape == (2, 8)
