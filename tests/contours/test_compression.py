"""Compression: few pixels, few levels; what is kept is the strongest."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bimm_mm.contours.compression import Compression, strongest


def _noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('density', [0.001, 0.04, 0.5, 1.0])
def test_the_strongest_pixels_are_kept(density: float) -> None:
    strength = _noise(3, 40, 50)
    packed = Compression(thin=False, density=density, levels=256)(strength)
    count = math.floor(density * 2000)
    for frame, values in zip(packed.numpy(), strength.numpy(), strict=True):
        limit = np.sort(values.ravel())[-count]
        expected = np.where(values >= limit, np.round(values * 255), 0)
        assert np.array_equal(frame, expected)


def test_a_frame_is_compressed_alike_alone_and_in_a_batch() -> None:
    strength = _noise(4, 30, 44)
    strength[2] = 0
    together = Compression()(strength)
    for frame, packed in zip(strength, together, strict=True):
        assert torch.equal(Compression()(frame[None])[0], packed)
    assert not together[2].any()


@pytest.mark.parametrize('share', [0.01, 0.3, 1.0])
def test_ties_never_exceed_the_limit(share: float) -> None:
    strength = (_noise(2, 64, 80) < share).float()
    kept = strongest(strength, 0.04)
    limit = math.floor(0.04 * 64 * 80)
    for mask, values in zip(kept, strength, strict=True):
        assert mask.sum() == min(limit, int(values.sum()))
        assert not (mask & (values == 0)).any()
    # Evenly over the frame: no quarter has much more than its part.
    quarters = kept.unflatten(1, (2, 32)).unflatten(3, (2, 40))
    counts = quarters.sum((2, 4)).flatten(1).float()
    assert (counts.std(1) < 0.25 * counts.mean(1)).all()


def test_ties_yield_to_what_is_stronger() -> None:
    strength = torch.full((1, 10, 10), 0.5)
    strength[0, 3] = 1
    kept = strongest(strength, 0.15)
    assert kept[0, 3].all() and kept.sum() == 15


@pytest.mark.parametrize('levels', [2, 3, 4, 7, 16, 19, 256])
def test_levels(levels: int) -> None:
    strength = torch.linspace(0, 1, 10001).view(1, 73, 137)
    packed = Compression(thin=False, density=None, levels=levels)(strength)
    values = [round(i * 255 / (levels - 1)) for i in range(levels)]
    assert packed.dtype == torch.uint8
    assert packed.unique().tolist() == values
    nearest = np.round(strength.numpy() * (levels - 1)).astype(int)
    assert np.array_equal(packed.numpy(), np.array(values)[nearest])


def test_thin_binary_lines_pass_unchanged() -> None:
    lines = torch.zeros(1, 50, 50)
    lines[0, 10:12, 5:40] = 1  # two wide: thinning would change it
    compression = Compression(density=None, levels=4)
    assert torch.equal(compression(lines, thinned=True), (lines * 255).byte())
    assert not torch.equal(compression(lines), (lines * 255).byte())


def test_settings_are_the_options() -> None:
    compression = Compression(thin=False, density=None, levels=9)
    assert compression.settings() == {
        'thin': False,
        'density': None,
        'levels': 9,
    }
    assert Compression(**compression.settings()) == compression


@pytest.mark.parametrize(
    ('options', 'fault'),
    [
        ({'density': 0}, r'density=0 .*above 0.*None'),
        ({'density': float('nan')}, r'density=nan'),
        ({'levels': 1}, r'levels=1: .*2 to 256'),
        ({'levels': 3.5}, r'levels=3\.5'),
    ],
)
def test_bad_options(options: dict[str, float], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Compression(**options)
