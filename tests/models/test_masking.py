"""Masks: published counts, polarity, tubes, and decoder masking."""

from __future__ import annotations

import pytest
import torch

from bimm_mm.models import (
    MaskedBranch,
    RandomMasking,
    RunningCellMasking,
    TubeMasking,
)
from bimm_mm.structures import TokenIndices


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
    rng = torch.Generator().manual_seed(0)
    hidden = RandomMasking(0.75)(4000, (1, 4, 4), generator=rng).hidden
    share = torch.bincount(hidden.flatten(), minlength=16) / 4000
    # Three standard deviations of a binomial with p = 0.75 and n = 4000.
    assert (share - 0.75).abs().max() < 0.0206 * 1.2


def test_the_generator_decides():
    def draw(seed):
        rng = torch.Generator().manual_seed(seed)
        return TubeMasking(0.5)(2, (2, 4, 4), generator=rng).hidden

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


@pytest.mark.parametrize('ratio', [0.0, 1.0, -0.5, 90])
def test_ratio_outside_is_refused(ratio):
    with pytest.raises(ValueError, match=r'inside \(0, 1\)'):
        TubeMasking(ratio)


def test_ratio_that_hides_everything_is_refused():
    with pytest.raises(ValueError, match='hides 0 of 4 tokens'):
        RandomMasking(0.1)(1, (1, 2, 2))


RATIOS = (0.25, 0.5, 0.75)


def published(grid, ratio, start):
    """VideoMAE V2's pattern, token by token: True is left out.

    A queue of 4 places, of which the first 4 x ratio are masked, is read from
    ``start`` on, one further in every time slot, and fills each cell of 2 x 2
    places row by row.
    """
    masked = int(4 * ratio)
    queue = [True] * masked + [False] * (4 - masked)
    pattern = []
    for time in range(grid[0]):
        for row in range(grid[1]):
            for column in range(grid[2]):
                corner = 2 * (row % 2) + (column % 2)
                pattern.append(queue[(start + time + corner) % 4])
    return torch.tensor(pattern)


def everything(grid, batch) -> TokenIndices:
    """All tokens hidden, in order."""
    tokens = torch.arange(grid[0] * grid[1] * grid[2]).expand(batch, -1)
    return TokenIndices(tokens[:, :0], tokens)


@pytest.mark.parametrize('ratio', RATIOS)
@pytest.mark.parametrize('grid', [(8, 14, 14), (4, 6, 4)])
def test_each_sample_has_one_of_the_published_patterns(grid, ratio):
    indices = everything(grid, batch=64)
    kept = RunningCellMasking(ratio)(indices, grid).hidden
    count = indices.hidden.shape[1]
    assert kept.shape == (64, count * (1 - ratio))
    left_out = torch.ones(64, count, dtype=torch.bool)
    left_out.scatter_(1, kept, False)
    patterns = torch.stack([published(grid, ratio, s) for s in range(4)])
    match = (left_out[:, None] == patterns).all(-1)
    assert match.any(1).all(), 'no published pattern'
    assert match.any(0).all(), 'all four starts appear in 64 samples'


@pytest.mark.parametrize('ratio', RATIOS)
def test_with_tubes_it_is_the_intersection_with_the_hidden(ratio):
    """Published: 16 frames, tubes at 0.9, 1408 hidden, half of them scored."""
    grid = (8, 14, 14)
    whole = TubeMasking(0.9)(16, grid)
    part = RunningCellMasking(ratio)(whole, grid)
    assert part.visible is whole.visible
    assert part.hidden.shape == (16, 1408 * (1 - ratio))
    for sample in range(16):
        hidden = set(whole.hidden[sample].tolist())
        options = [
            hidden - set(published(grid, ratio, s).nonzero()[:, 0].tolist())
            for s in range(4)
        ]
        assert set(part.hidden[sample].tolist()) in options


def test_where_numbers_vary_the_pattern_goes_first():
    grid = (1, 5, 7)
    whole = RandomMasking(0.6)(32, grid)
    part = RunningCellMasking(0.5)(whole, grid).hidden
    assert part.shape == (32, 11)  # half of 21, rounded up
    for sample in range(32):
        hidden, kept = (set(x[sample].tolist()) for x in (whole.hidden, part))
        assert len(kept) == 11 and kept <= hidden
        shown = [
            hidden - set(published(grid, 0.5, s).nonzero()[:, 0].tolist())
            for s in range(4)
        ]
        assert any(kept <= s or s <= kept for s in shown)


def test_the_generator_decides_the_pattern():
    grid = (4, 4, 4)

    def draw(seed):
        rng = torch.Generator().manual_seed(seed)
        cell = RunningCellMasking()
        return cell(everything(grid, 8), grid, generator=rng).hidden

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))


def build(cfg, ratio, plain=None):
    masking = None
    if ratio is not None:
        masking = dict(type='bimm_mm.RunningCellMasking', ratio=ratio)
    branch = MaskedBranch(**cfg, decoder_masking=masking)
    if plain is not None:
        branch.load_state_dict(plain.state_dict())
    return branch


def run(branch, clip, seed=0):
    torch.manual_seed(seed)
    return branch(clip)


def test_ratio_0_is_the_present_loss_exactly(dorsal_cfg, make_clips):
    plain = build(dorsal_cfg, None)
    zero = build(dorsal_cfg, 0.0, plain)
    first, second = (run(b, make_clips()) for b in (plain, zero))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_all_areas_score_the_same_half(dorsal_cfg, make_clips):
    branch, clip = build(dorsal_cfg, 0.5), make_clips()
    torch.manual_seed(0)
    with torch.no_grad():
        outputs = branch(clip, mode='predict')[0]
    scored = [out.scored for out in outputs.values()]
    assert all(torch.equal(one, scored[0]) for one in scored)
    assert scored[0].shape == (2, 12)  # half of 24 of 32
    for name, out in outputs.items():
        assert out.prediction.shape[1] == 12
        target = branch.areas[name].target(clip, out.patch)
        wanted = torch.stack(
            [x[tokens] for x, tokens in zip(target, out.scored, strict=True)]
        )
        expected = (out.prediction - wanted).square().mean()
        torch.testing.assert_close(out.loss, expected)


def test_linear_decoder_does_not_see_what_is_left_out(dorsal_cfg, make_clips):
    """Hidden tokens do not meet in it: the same weights, the same numbers."""
    dorsal_cfg['areas'] = dorsal_cfg['areas'][:1]
    plain = build(dorsal_cfg, None)
    half = build(dorsal_cfg, 0.5, plain)
    clip = make_clips()
    with torch.no_grad():
        torch.manual_seed(0)
        whole = plain(clip, mode='predict')[0]['V1']
        torch.manual_seed(0)
        part = half(clip, mode='predict')[0]['V1']
    for sample in range(2):
        known = whole.scored[sample].tolist()
        rows = [known.index(token) for token in part.scored[sample].tolist()]
        torch.testing.assert_close(
            part.prediction[sample], whole.prediction[sample][rows]
        )


@pytest.mark.parametrize('ratio', [-0.25, 0.3, 1.0, 50])
def test_ratio_that_no_cell_has(ratio):
    with pytest.raises(ValueError, match=r'0, 0.25, 0.5 or 0.75'):
        RunningCellMasking(ratio)
