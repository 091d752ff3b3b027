"""A small SAM through tools/extract_contours.py, killed and resumed."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from bimm_mm.contours.store import ContourFile

ROOT = Path(__file__).resolve().parents[3]
KILLS = runpy.run_path(str(ROOT / 'tools' / 'benchmarks' / 'contour_kills.py'))


@pytest.mark.slow
def test_killed_sam_goes_on_to_the_same_bytes(
    small_sam, data_root, tmp_path, monkeypatch
):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '-1')
    torch.save(small_sam.state_dict(), tmp_path / 'small.pth')
    (tmp_path / 'data').mkdir()
    for name in ('eat.mkv', 'want.mkv'):
        source = data_root.resolve() / 'clips' / 'asl_gestures' / name
        (tmp_path / 'data' / name).symlink_to(source)
    work = [
        str(tmp_path / 'data'),
        '--detector=sam',
        f'--weights={tmp_path / "small.pth"}',
        '--stride=12',
        '--detector-options',
        'points_per_side=4',
        'pred_iou_thresh=0.5',
        'stability_score_thresh=0.5',
    ]
    _, seconds = KILLS['whole'](work, tmp_path / 'a')
    options = {'kills': 2, 'seconds': seconds, 'seed': 0}
    assert KILLS['disturb'](work, tmp_path / 'b', **options)
    files, others = (KILLS['digests'](tmp_path / name) for name in 'ab')
    assert len(files) == 3
    # The manifest names the folder.
    assert {k for k in files if files[k] != others[k]} == {'manifest.json'}
    with ContourFile(tmp_path / 'a' / 'eat.mkv.zip') as file:
        assert file.settings['detector'] == 'sam'
        assert any(file.read(index).any() for index in file.indices)
