"""Small configs train, from real clips to accuracy and features."""

from __future__ import annotations

import json
from functools import partial

import pytest

from bimm_mm.apis import (
    FeatureOptions,
    build_runner,
    extract_features,
    read_progress,
    read_scalars,
)
from studies.mini.data import read_list
from studies.mini.miniature import finetuning, pretraining

_TOY = dict(size='toy', device='cpu', steps=2, seed=0)


def _pretraining(name, data, folder, **options):
    train = data.folds[0].train
    make = partial(pretraining, data=data, train_list=train, **_TOY)
    return make(name, work_dir=folder, **options)


def _finetuning(name, data, folder, **options):
    make = partial(finetuning, data=data, fold='0', **_TOY)
    return make(name, work_dir=folder, **options)


def test_from_clips_to_test_accuracy(study_data, tmp_path) -> None:
    """Ventral stage, joint stage from it, finetuning, test and features."""
    stage = tmp_path / 'ventral'
    build_runner(_pretraining('ventral', study_data, stage)).train()
    joint = tmp_path / 'bimm'
    cfg = _pretraining(
        'bimm', study_data, joint, ventral_checkpoint=stage / 'iter_2.pth'
    )
    runner = build_runner(cfg)
    runner.train()
    assert runner.iter == 2
    progress = {area.area: area for area in read_progress(joint)}
    assert set(progress) == {
        *(f'ventral_{area}' for area in ('V1', 'V2', 'V4')),
        *(f'dorsal_{area}' for area in ('V1', 'V2', 'MT')),
    }
    curve = read_scalars(joint)['dorsal_MT/ratio']
    assert list(curve) == [0, 1, 2]
    assert curve[2] == pytest.approx(progress['dorsal_MT'].ratio)
    assert curve[2] < curve[0]
    lines = (joint / 'diagnosis.jsonl').read_text().splitlines()
    last = json.loads(lines[-1])
    assert last['iter'] == 2
    assert last['knn']['samples'] == len(read_list(study_data.folds[0].train))

    weights = joint / 'iter_2.pth'
    tuned = _finetuning(
        'bimm', study_data, tmp_path / 'tuned', checkpoint=weights
    )
    runner = build_runner(tuned)
    runner.train()
    scores = runner.test()
    assert scores['acc/top1'] * 6 == pytest.approx(
        round(scores['acc/top1'] * 6)
    )
    options = FeatureOptions(split='train', pipeline='test', device='cpu')
    features = extract_features(tuned, str(weights), options)
    assert features.arrays['features'].shape == (6, 48)
    assert set(features.paths) == set(read_list(study_data.folds[0].train))


def test_videomae_is_finetuned_without_class_token(
    study_data, tmp_path
) -> None:
    folder = tmp_path / 'videomae'
    runner = build_runner(_pretraining('videomae', study_data, folder))
    runner.train()
    assert set(read_scalars(folder)['pixels/ratio']) == {0, 1, 2}
    cfg = _finetuning(
        'videomae',
        study_data,
        tmp_path / 'tuned',
        checkpoint=folder / 'iter_2.pth',
    )
    runner = build_runner(cfg)
    assert runner.model.backbone.cls_token is None
    runner.train()
    assert 0 <= runner.test()['acc/top1'] <= 1
