"""Curves and numbers from the logs of mmengine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.image import imread

from bimm_mm.apis.curves import loss_panels, read_scalars, save_curves


def _log(folder: Path, run: str, entries: list[dict]) -> None:
    path = folder / run / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(map(json.dumps, entries)) + '\n')


def _val(step: int, loss: float) -> dict:
    return {'V1/mse': loss, 'V1/mean_mse': 1.0, 'step': step}


def _train(step: int, loss: float, epoch: int = 1) -> dict:
    return {'loss': loss, 'loss_V1': loss, 'epoch': epoch, 'step': step}


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A run killed at step 30, and one that goes on from step 20."""
    first = [_val(0, 1.2), _train(10, 1.0), _train(20, 0.9), _val(20, 0.85)]
    _log(tmp_path, '20260101_000000', [*first, _train(25, 7), _train(30, 8)])
    second = [_train(22, 0.8, 2), _train(40, 0.6, 2), _val(40, 0.5)]
    _log(tmp_path, '20260101_000100', second)
    return tmp_path


def test_resumed_run_replaces_what_it_repeats(logs):
    series = read_scalars(logs)
    assert series['loss_V1'] == {10: 1.0, 20: 0.9, 22: 0.8, 40: 0.6}
    assert series['V1/mse'] == {0: 1.2, 20: 0.85, 40: 0.5}
    # A run that stopped before its first loss changes nothing.
    _log(logs, '20260102_000000', [_val(0, 2.0)])
    assert read_scalars(logs) == series
    _log(logs, '20260103_000000', [_val(0, 2.0), _train(10, 1.5)])
    assert read_scalars(logs)['loss_V1'] == {10: 1.5}


def test_a_folder_without_a_log_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='no log of a training run'):
        read_scalars(tmp_path)


def test_epochs_are_not_drawn_as_steps(tmp_path):
    _log(tmp_path, 'a', [_train(50, 1.0), _val(1, 0.9), _train(100, 0.8, 2)])
    assert loss_panels(read_scalars(tmp_path)) == {
        'V1': {'training': {50: 1.0, 100: 0.8}},
        'V1, by epoch': {'validation': {1: 0.9}, 'mean predicted': {1: 1.0}},
    }


def test_curves_fit_into_a_page(tmp_path):
    losses = {f'loss_dorsal_{n}': 1.0 for n in range(6)}
    _log(tmp_path, 'a', [{'loss': 6.0, **losses, 'epoch': 1, 'step': 10}])
    path = save_curves(tmp_path, tmp_path / 'new' / 'curves.png')
    image = imread(path)
    height, width, _ = image.shape
    assert 800 < width <= 1100 and 500 < height < 700
    # A single step is seen, beside the panel with the legend.
    blue = image[..., 2] - image[..., 0] > 0.3
    assert blue[:, width // 2 :].any()


def test_a_cut_last_line_is_left_out_and_damage_is_named(logs):
    before = read_scalars(logs)
    path = logs / '20260101_000100' / 'vis_data' / 'scalars.json'
    path.write_bytes(path.read_bytes() + b'{"loss": 0.5, "st')
    assert read_scalars(logs) == before
    path.write_bytes(b'{"loss": "\xff"}\n' + path.read_bytes())
    with pytest.raises(ValueError, match=r'scalars\.json, line 1, is no'):
        read_scalars(logs)
