"""Pretrained, random and trivial features on real actions, two folds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
UCF101 = ROOT / 'configs' / 'downstream' / 'ucf101' / 'finetune_ucf101.py'


@pytest.fixture
def action_config(data_root: Path, toy_arch: dict, toy_config) -> Path:
    """UCF101's config at toy size, its validation set all 120 clips."""
    source = data_root / 'action_mini' / 'ut_interaction'

    def shrink(cfg: Config) -> None:
        cfg.model.backbone.update(toy_arch, num_frames=8)
        cfg.model.cls_head.update(in_channels=192, num_classes=6)
        cfg.val_dataloader.num_workers = 0
        dataset = cfg.val_dataloader.dataset
        dataset.ann_file = str(source / 'all.txt')
        dataset.data_prefix.video = str(source / 'videos_sq')
        decode, resize, crop = dataset.pipeline[:3]
        # 8 frames over the 52 of each clip.
        decode.transforms[1].update(clip_len=8, frame_interval=6)
        resize.scale = (64, 64)
        crop.crop_size = 64

    return toy_config(UCF101, shrink)


def test_three_numbers_on_real_actions(
    action_config, joint_checkpoint, run_script, data_root, tmp_path, capsys
):
    splits = data_root / 'action_mini' / 'ut_interaction' / 'splits'
    for path in splits.glob('fold[01]_*.txt'):
        shutil.copy(path, tmp_path)
    done = run_script(
        'probe.py', action_config, joint_checkpoint, '--features', 'encoder',
        'random', 'motion-energy', '--pool', 'avg', '--c', '1',
        '--folds', 'fold{}_train.txt', 'fold{}_val.txt',
        '--out', 'result.json',
    )  # fmt: skip
    with capsys.disabled():
        print('\n' + done.stdout[done.stdout.index('features  ') :])
    assert 'encoder: 77 of 77 tensors from' in done.stdout + done.stderr
    assert 'NO CHECKPOINT' in done.stdout + done.stderr
    results = json.loads((tmp_path / 'result.json').read_text())
    top1 = {(r['source'], r['method']): r['top1'] for r in results}
    assert len(top1) == 6 and all(0 <= x <= 100 for x in top1.values())
    for result in results:
        assert len(result['folds']) == 2
        assert all(fold['classes'] == 6 for fold in result['folds'])
    # Of the pretrained and the random encoder nothing is claimed.
    assert top1['motion-energy', 'linear'] > 50
    assert top1['motion-energy', 'knn'] > 35
