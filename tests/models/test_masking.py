"""Masks: published counts, polarity, tubes, and one for each kind of input."""

from __future__ import annotations

import pytest
import torch

from bimm_mm.models import RandomMasking, TubeMasking


@pytest.mark.parametrize(
    ('masking', 'grid', 'visible', 'hidden'),
    [
        # VideoMAE: 176 of 196 places hidden at 0.9 over 8 time slots.
        (TubeMasking(0.9), (8, 14, 14), 160, 1408),
        (TubeMasking(0.75), (8, 14, 14), 8 * 49, 8 * 147),
        # MAE: 49 of 196 patches stay visible.
        (RandomMasking(0.75), (1, 14, 14), 49, 147),
        (RandomMasking(0.29), (1, 10, 10), 71, 29),
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
