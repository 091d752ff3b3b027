"""DexiNed: kornia's network on what its authors feed it."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bimm_mm.contours.detectors import Detector, build_detector

dexined = pytest.importorskip('kornia.filters.dexined')


@pytest.fixture(scope='module')
def network() -> torch.nn.Module:
    """Random weights that do not saturate the sigmoid."""
    torch.manual_seed(0)
    network = dexined.DexiNed(pretrained=False).eval()
    network.block_cat.conv.weight.data.mul_(1e-2)
    return network


@pytest.fixture(scope='module')
def weights(
    network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory
) -> str:
    path = tmp_path_factory.mktemp('dexined') / 'dexined.pth'
    torch.save(network.state_dict(), path)
    return str(path)


@pytest.fixture(scope='module')
def detector(weights: str) -> Detector:
    return build_detector('dexined', weights=weights)


def _frames(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator)


def test_numbers_of_the_network(
    network: torch.nn.Module, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object) -> None:
        raise AssertionError('a download was tried')

    monkeypatch.setattr(socket.socket, 'connect', no_network)
    detector = build_detector('dexined', weights=weights)
    frames = _frames(2, 3, 16, 32)
    edges = detector.detect(frames)
    # As datasets.py of xavysp/DexiNed prepares what cv2.imread gives.
    bgr = frames.movedim(1, -1).numpy()[..., ::-1].astype(np.float32)
    bgr -= np.array([103.939, 116.779, 123.68], np.float32)
    with torch.no_grad():
        logits = network(torch.from_numpy(bgr.transpose(0, 3, 1, 2).copy()))
    torch.testing.assert_close(edges, logits[:, 0].sigmoid())
    assert edges.std() > 0.01 and edges.max() <= 1
    assert not detector.thinned


def test_frames_of_any_size_are_padded(detector: Detector) -> None:
    frames = _frames(1, 3, 29, 31)
    padded = np.pad(
        frames.numpy(), ((0, 0), (0, 0), (0, 3), (0, 1)), 'reflect'
    )
    expected = detector.detect(torch.from_numpy(padded))[:, :29, :31]
    torch.testing.assert_close(detector.detect(frames), expected)


@pytest.mark.parametrize('dtype', ['bf16', 'fp16'])
def test_half_precision(dtype: str, weights: str, detector: Detector) -> None:
    frames = _frames(1, 3, 16, 16)
    half = build_detector('dexined', weights=weights, options={'dtype': dtype})
    edges = half.detect(frames)
    assert edges.dtype == torch.float32
    difference = (edges - detector.detect(frames)).abs().mean()
    assert 0 < difference < 0.02
    assert half.settings() == {**detector.settings(), 'dtype': dtype}


def test_weights_of_another_network(weights: str, tmp_path: Path) -> None:
    state = torch.load(weights, weights_only=True)
    path = tmp_path / 'other.pth'
    torch.save({**state, 'extra': torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r'other\.pth.*extra.*BIPED'):
        build_detector('dexined', weights=str(path))
    del state['side_1.conv.weight']
    torch.save(state, path)
    with pytest.raises(ValueError, match=r'other\.pth.*side_1\.conv\.weight'):
        build_detector('dexined', weights=str(path))


def test_bad_type(weights: str) -> None:
    with pytest.raises(ValueError, match=r"'fp8' is unknown.*bf16"):
        build_detector('dexined', weights=weights, options={'dtype': 'fp8'})


def test_without_kornia(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'kornia.filters', None)
    with pytest.raises(ImportError, match=r'pip install kornia==0\.8\.2'):
        build_detector('dexined', weights=weights)
