"""Masks: published counts, polarity, tubes, and one for each kind of input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmpretrain.datasets import BEiTMaskGenerator

from bimm_mm.models import BlockMasking, RandomMasking, TubeMasking
from bimm_mm.utils.random_state import seeded


@pytest.mark.parametrize(
    ('masking', 'grid', 'visible', 'hidden'),
    [
        # VideoMAE: 176 of 196 places hidden at 0.9 over 8 time slots.
        (TubeMasking(0.9), (8, 14, 14), 160, 1408),
        (TubeMasking(0.75), (8, 14, 14), 8 * 49, 8 * 147),
        # MAE: 49 of 196 patches stay visible.
        (RandomMasking(0.75), (1, 14, 14), 49, 147),
        (RandomMasking(0.29), (1, 10, 10), 71, 29),
        # SimMIM: 30 of 49 squares of 2 x 2 tokens.
        (RandomMasking(30 / 49, side=2), (1, 14, 14), 4 * 19, 4 * 30),
        # MaskFeat: 78 of 196, BEiT: 75.
        (BlockMasking(0.4, min_tokens=15), (1, 14, 14), 118, 78),
        (BlockMasking(75 / 196), (1, 14, 14), 121, 75),
        (BlockMasking(0.4), (1, 4, 6), 15, 9),
    ],
)
def test_counts_and_partition(masking, grid, visible, hidden):
    indices = masking(3, grid)
    assert indices.visible.shape == (3, visible)
    assert indices.hidden.shape == (3, hidden)
    both = torch.cat(indices, dim=1).sort(dim=1).values
    assert torch.equal(both, torch.arange(visible + hidden).expand(3, -1))


def test_tube_hides_the_same_places_at_all_times():
    indices = TubeMasking(0.75)(2, (4, 6, 6))
    shown = torch.zeros(2, 4 * 36, dtype=torch.bool)
    shown.scatter_(1, indices.visible, True)
    shown = shown.view(2, 4, 36)
    assert torch.equal(shown, shown[:, :1].expand(-1, 4, -1))
    assert not torch.equal(shown[0], shown[1]), 'samples differ'


def test_squares_are_hidden_as_a_whole():
    hidden = RandomMasking(0.6, side=2)(50, (2, 4, 6)).hidden
    shown = torch.ones(50, 2 * 24).scatter(1, hidden, 0.0)
    squares = shown.view(50, 2, 2, 2, 3, 2).transpose(3, 4).flatten(4)
    assert torch.equal(squares.amin(-1), squares.amax(-1))
    assert not (shown == shown[:1]).all(), 'samples differ'
    with pytest.raises(ValueError, match=r'side=2 tokens .* 5 x 6'):
        RandomMasking(0.6, side=2)(1, (1, 5, 6))


def test_blocks_are_those_of_mmpretrain():
    torch.manual_seed(5)
    hidden = BlockMasking(0.4, min_tokens=15)(3, (1, 14, 14)).hidden
    torch.manual_seed(5)
    generator = BEiTMaskGenerator(14, 78, min_num_patches=15)
    with seeded(int(torch.randint(2**31, ()))):
        masks = [generator.transform({})['mask'] for _ in range(3)]
    for found, mask in zip(hidden, masks, strict=True):
        expected = np.flatnonzero(mask.ravel())
        assert found.sort().values.tolist() == expected.tolist()
    # Blocks: a hidden token's neighbor on the right is hidden, too, far more
    # often than the 40 % of independent tokens.
    mask = np.stack(masks)
    pairs = mask[:, :, 1:][mask[:, :, :-1] == 1].mean()
    assert pairs > 0.7
    with pytest.raises(ValueError, match=r'BlockMasking is for images'):
        BlockMasking(0.4)(1, (8, 14, 14))


def test_random_masking_is_uniform():
    torch.manual_seed(0)
    hidden = RandomMasking(0.75)(4000, (1, 4, 4)).hidden
    share = torch.bincount(hidden.flatten(), minlength=16) / 4000
    # Three standard deviations of a binomial with p = 0.75 and n = 4000.
    assert (share - 0.75).abs().max() < 0.0206 * 1.2


def test_ratios_that_hide_all_or_nothing_are_refused():
    with pytest.raises(ValueError, match=r'inside \(0, 1\)'):
        TubeMasking(90)
    with pytest.raises(ValueError, match='hides 0 of 4 tokens'):
        RandomMasking(0.1)(1, (1, 2, 2))
