"""Detectors by name; Sobel is what the target computes on-line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bimm_mm.contours.detectors import Detector, build_detector, load_weights
from bimm_mm.registry import DETECTORS
from bimm_mm.structures import ClipBatch
from bimm_mm.targets import ContourTarget


class Brightness(Detector):
    """A detector of someone else's."""

    def __init__(self, *, gain: float = 1, device: str = 'cpu') -> None:
        super().__init__(device=device)
        self.gain = gain

    def detect(self, frames: Tensor) -> Tensor:
        return (frames.float().mean(1) / 255 * self.gain).clamp(0, 1)

    def settings(self) -> dict[str, Any]:
        return {'detector': 'brightness', 'gain': self.gain}


def _frames(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator)


def test_names() -> None:
    names = {'sobel', 'canny', 'structured', 'dexined', 'sam'}
    assert names <= set(DETECTORS.module_dict)


def test_sobel_is_the_target_of_the_same_pixels() -> None:
    frames = _frames(5, 3, 40, 56)
    pixels = frames.float().div(255).movedim(0, 1)[None]  # a clip
    target = ContourTarget('sobel', norm=None)
    on_line = target.maps(ClipBatch(pixels, pixels))[0, 0]
    detector = build_detector('sobel')
    assert torch.equal(detector.detect(frames), on_line)
    assert detector.settings() == {'detector': 'sobel'}


@pytest.mark.parametrize('name', ['sobel', 'canny'])
def test_a_frame_has_the_same_contours_alone_and_in_a_batch(
    name: str,
) -> None:
    frames = _frames(3, 3, 33, 50)
    before = frames.clone()
    detector = build_detector(name)
    together = detector.detect(frames)
    assert together.dtype == torch.float32 and together.shape == (3, 33, 50)
    assert together.min() >= 0 and together.max() <= 1
    for i in range(3):
        assert torch.equal(detector.detect(frames[i : i + 1])[0], together[i])
    assert torch.equal(frames, before)
    json.dumps(detector.settings())


def test_a_class_of_ones_own_by_its_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        'bimm_mm.version.Brightness', Brightness, raising=False
    )
    detector = build_detector(
        'bimm_mm.version.Brightness', options={'gain': 0.5}
    )
    assert detector.settings()['gain'] == 0.5


@pytest.mark.parametrize(
    ('arguments', 'fault'),
    [
        ({'name': 'sobl'}, r"'sobl' is unknown.*'canny'.*'sobel'"),
        ({'name': 'json.JSONDecoder'}, r'JSONDecoder.*unknown'),
        (
            {'name': 'canny', 'options': {'lo': 3}},
            r"'lo'.*\['high', 'low', 'sigma'\]",
        ),
        ({'name': 'sobel', 'options': {'lo': 3}}, r"'lo', it has none"),
        ({'name': 'canny', 'options': {'device': 'cpu'}}, r"'device'"),
        ({'name': 'dexined'}, r"'dexined' needs weights.*DexiNed_BIPED"),
        (
            {'name': 'dexined', 'weights': 'a', 'options': {'weights': 'b'}},
            r"no option 'weights'",
        ),
        ({'name': 'structured'}, r'needs weights.*model\.yml\.gz'),
        ({'name': 'sobel', 'weights': 'a.pth'}, r"no weights.*'a\.pth'"),
        ({'name': 'sobel', 'device': 'gpu'}, r"'gpu' is unknown.*'cuda:0'"),
        ({'name': 'sobel', 'device': 'cuda:99'}, r"'cuda:99' is not there"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        build_detector(**arguments)


@pytest.mark.parametrize('name', ['structured', 'dexined'])
def test_missing_weights(name: str, tmp_path: Path) -> None:
    missing = str(tmp_path / 'nothing.pth')
    with pytest.raises(FileNotFoundError, match=r'nothing\.pth.*Expected'):
        build_detector(name, weights=missing)


def test_weights_come_with_their_hash(tmp_path: Path) -> None:
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': {'w': torch.arange(3)}}, path)
    state, digest = load_weights(str(path))
    assert torch.equal(state['w'], torch.arange(3)) and len(digest) == 64
    path.write_bytes(b'abc')
    with pytest.raises(ValueError, match=r'a\.pth cannot be read'):
        load_weights(str(path))


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    from bimm_mm.contours.detectors.weights import hash_file

    path = tmp_path / 'abc'
    path.write_bytes(b'abc')
    # FIPS 180-2, appendix B.1.
    assert hash_file(str(path)).startswith('ba7816bf8f01cfea414140de5dae2223')
