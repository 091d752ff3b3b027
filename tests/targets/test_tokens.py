from __future__ import annotations

import pytest
import torch

from bimm_mm.targets.base import patchify, token_grid, unpatchify


@pytest.mark.parametrize('channels', [1, 3, 5])
@pytest.mark.parametrize('patch', [(2, 4, 3), (1, 2, 6), (4, 1, 1)])
def test_order_is_that_of_plain_loops(channels, patch):
    maps = torch.rand(2, channels, 4, 8, 6)
    pt, ph, pw = patch
    expected = []
    for t in range(0, 4, pt):
        for y in range(0, 8, ph):
            for x in range(0, 6, pw):
                expected.append(
                    torch.stack(
                        [
                            maps[:, c, t + i, y + j, x + k]
                            for i in range(pt)
                            for j in range(ph)
                            for k in range(pw)
                            for c in range(channels)
                        ],
                        dim=1,
                    )
                )
    assert torch.equal(patchify(maps, patch), torch.stack(expected, 1))


def test_unpatchify_is_the_inverse():
    maps = torch.rand(3, 2, 6, 8, 12)
    tokens = patchify(maps, (3, 4, 2))
    assert tokens.shape == (3, 2 * 2 * 6, 3 * 4 * 2 * 2)
    assert torch.equal(unpatchify(tokens, (3, 4, 2), (6, 8, 12)), maps)


def test_maps_that_are_not_contiguous():
    maps = torch.rand(2, 8, 12, 4, 3).permute(0, 4, 3, 1, 2)
    tokens = patchify(maps, (2, 4, 4))
    assert torch.equal(unpatchify(tokens, (2, 4, 4), (4, 8, 12)), maps)


def test_patch_that_does_not_divide_is_named():
    with pytest.raises(ValueError, match=r'\(3, 8, 8\).*\(2, 4, 4\)'):
        patchify(torch.rand(1, 3, 3, 8, 8), (2, 4, 4))
    with pytest.raises(ValueError, match='multiples of the patch'):
        token_grid((2, 8, 10), (2, 4, 4))


def test_tokens_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match='do not fit'):
        unpatchify(torch.rand(1, 5, 96), (2, 4, 4), (2, 8, 8))
    with pytest.raises(ValueError, match='do not fit'):
        unpatchify(torch.rand(1, 4, 97), (2, 4, 4), (2, 8, 8))
