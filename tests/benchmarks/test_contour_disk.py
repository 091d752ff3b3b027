"""The table of disk space: bytes as the store writes them, errors by hand."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch

from bimm_mm.contours.packing import Packing
from bimm_mm.contours.store import write_contours

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / 'tools' / 'benchmarks')
    return importlib.import_module('contour_disk')


def _strength() -> torch.Tensor:
    return torch.rand(3, 40, 60, generator=torch.Generator().manual_seed(0))


def test_bytes_are_those_of_the_store(
    disk: ModuleType, tmp_path: Path
) -> None:
    packed = Packing()(_strength())
    cost = disk.Cost()
    cost.add(packed, {})
    sizes = []
    for count in (3, 6):
        path = tmp_path / f'{count}.zip'
        frames = [frame.numpy() for frame in packed] * (count // 3)
        write_contours(
            str(path),
            frames,
            range(count),
            settings={'detector': 'sobel', 'stride': 1},
            source={},
        )
        sizes.append(path.stat().st_size)
    assert 3 * cost.sizes[0] == pytest.approx(sizes[1] - sizes[0], abs=1)


def test_errors_are_relative_to_the_truth(disk: ModuleType) -> None:
    cost = disk.Cost()
    truth = torch.tensor([[[1.0, 0.5, 0.0]]])
    cost.add(torch.tensor([[[255, 0, 51]]], dtype=torch.uint8), {'x': truth})
    row = cost.row('a', 'b')
    assert row['loss of x'] == pytest.approx((0.25 + 0.04) / 1.25)
    assert row['kept'] == pytest.approx(2 / 3)


def test_masks_give_the_boundaries_of_regions(
    disk: ModuleType, tmp_path: Path
) -> None:
    labels = np.zeros((48, 64), np.uint8)
    labels[12:36, 16:48] = 7
    cv2.imwrite(str(tmp_path / 'a.png'), labels)
    (strength,) = disk.from_masks([str(tmp_path / 'a.png')], 96)
    assert strength.shape == (1, 96, 128) and strength.max() == 1
    y, x = np.mgrid[:96, :128]
    across = np.maximum(np.abs(x - 63.5) - 32, np.abs(y - 47.5) - 24)
    far = torch.from_numpy(np.abs(across) > 5)
    assert strength[0][far].max() < 0.01
    crest = torch.from_numpy((np.abs(across) < 1) & (np.abs(x - 64) < 20))
    assert strength[0][crest].min() > 0.8


def test_the_table(
    disk: ModuleType,
    data_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / 'disk.json'
    video = str(data_root / 'clips' / 'hiera_dog.mp4')
    arguments = [video, '--frames', '2', '--side', '96', '--full-size']
    arguments += ['--densities', '0.02', '--json', str(out)]
    monkeypatch.setattr(sys, 'argv', ['contour_disk.py', *arguments])
    disk.main()
    rows = json.loads(out.read_text())
    printed = capsys.readouterr().out
    assert printed.count('\n') == len(rows) + 2
    by = {(row['detector'], row['packing']): row for row in rows}
    full = by['sobel', 'all, 8 bit']
    default = by['sobel', f'default ({disk.name_of(Packing())})']
    fewer = by['sobel', 'thin, density 0.02, 4 levels']
    assert fewer['bytes'] < default['bytes'] < full['bytes'] / 5
    assert full['loss of strength'] < 1e-4 < default['loss of strength']
    assert by['canny', 'thin, 8 bit']['loss of lines'] < 1e-4
    assert fewer['kept'] <= 0.02 and full['files'] == 1


@pytest.mark.parametrize(
    ('arguments', 'fault'),
    [
        ([], 'name videos'),
        (['nowhere.mp4'], r'nowhere\.mp4'),
        (['a.mp4', '--detectors', 'dexined'], 'needs weights'),
    ],
)
def test_bad_arguments(
    arguments: list[str],
    fault: str,
    disk: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, 'argv', ['contour_disk.py', *arguments])
    with pytest.raises(SystemExit, match=fault):
        disk.main()
