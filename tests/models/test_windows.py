"""Windowed attention: equal to global attention that may not look outside."""

from __future__ import annotations

import pytest
import torch

from bimm_mm.models.backbones.vit import BIMMVisionTransformer

ARCH = dict(embed_dims=24, depth=3, num_heads=2)


def make(**options) -> BIMMVisionTransformer:
    torch.manual_seed(0)
    return BIMMVisionTransformer(
        ARCH,
        img_size=32,
        patch_size=4,
        **dict(with_cls_token=False, out_type='raw') | options,
    ).eval()


def _same_window(height: int, width: int, side: int) -> torch.Tensor:
    """(N, N), True where two tokens lie in one window, pair by pair."""
    place = [
        (row // side, column // side)
        for row in range(height)
        for column in range(width)
    ]
    return torch.tensor([[a == b for b in place] for a in place])


@pytest.mark.parametrize(('height', 'width'), [(8, 8), (7, 10), (3, 2)])
def test_blocks_see_their_window_only(height, width):
    model = make(window_size=4, global_blocks=(1,))
    x = torch.randn(2, 3, height * 4, width * 4)
    (found,) = model(x)
    inside = _same_window(height, width, 4)[None, None]
    stream = model._embed(x.unsqueeze(2), None)
    for index, block in enumerate(model.blocks):
        stream = block(stream, None, None if index == 1 else inside)
    torch.testing.assert_close(found, model.norm(stream))


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(window_size=4, global_blocks=(3,)), r'has \[3\].*3 blocks'),
        (dict(window_size=4, num_frames=2, tubelet_size=2), 'for images'),
        (
            dict(window_size=4, with_cls_token=True, out_type='cls_token'),
            'with_cls_token=False',
        ),
    ],
)
def test_contradictions_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        make(**options)


def test_masked_input_is_refused():
    visible = torch.zeros(1, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match='needs all tokens'):
        make(window_size=4).encode(torch.randn(1, 3, 1, 32, 32), visible, [3])
