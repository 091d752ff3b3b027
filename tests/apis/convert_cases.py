"""Tiny branches and their checkpoints, for tests of converting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from bimm_mm.apis.convert import convert_checkpoint
from bimm_mm.registry import MODELS
from bimm_mm.structures import TokenIndices
from tests.official_forms import ARCH, DEPTH, DIM, HEADS, WIDE
from tests.restated import randomized

SIZES = {
    False: dict(img_size=32),
    True: dict(img_size=32, num_frames=4, tubelet_size=2),
}
MMPRETRAIN = dict(
    arch=dict(
        embed_dims=DIM,
        num_layers=DEPTH,
        num_heads=HEADS,
        feedforward_channels=4 * DIM,
    ),
    img_size=32,
    out_type='raw',
)


def branch(video: bool, **options: Any) -> dict[str, Any]:
    """Pixels after the last block, and another area."""
    tokens = dict(with_cls_token=False, out_type='avg') if video else {}
    pixels = dict(
        name='pixels',
        after_block=DEPTH,
        decoder=dict(
            type='bimm_mm.TransformerDecoder',
            depth=1,
            decoder_dims=WIDE,
            num_heads=2,
            embed_bias=not video,
        ),
        target=dict(
            type='bimm_mm.PixelTarget', norm='videomae' if video else 'mae'
        ),
    )
    inner = dict(
        pixels, name='V1', after_block=2, decoder=dict(pixels['decoder'])
    )
    return dict(
        type='bimm_mm.MaskedBranch',
        backbone=dict(
            type='bimm_mm.BIMMVisionTransformer',
            arch=ARCH,
            **{**SIZES[video], **tokens, **options},
        ),
        masking=dict(type='bimm_mm.RandomMasking', ratio=0.5),
        areas=[inner, pixels],
    )


def save(model: dict[str, Any], folder: Path) -> tuple[torch.nn.Module, Path]:
    """A model with random weights, and its checkpoint with its config."""
    torch.manual_seed(0)
    built = randomized(MODELS.build(model), std=0.2)
    dataset = dict(type='VideoDataset', ann_file='data/some/list.txt')
    cfg = Config(dict(model=model, train_dataloader=dict(dataset=dataset)))
    meta = dict(cfg=cfg.pretty_text, epoch=7, experiment_name='tiny')
    path = folder / 'own.pth'
    torch.save(dict(state_dict=built.state_dict(), meta=meta), path)
    return built, path


def write(source: Path, to: str, **options: Any) -> Path:
    out = source.parent / (to if to.startswith('hf-') else f'{to}.safetensors')
    return convert_checkpoint(source, out, to=to, **options).path


def picture(video: bool) -> Tensor:
    return torch.randn(2, 3, *((4,) if video else ()), 32, 32)


def tokens_of(model: torch.nn.Module, x: Tensor) -> Tensor:
    """Of a branch, after the final norm."""
    clip = x if x.ndim == 5 else x.unsqueeze(2)
    return model.backbone.encode(clip, None, [DEPTH])[DEPTH]


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert theirs.abs().max() > 0.5
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def predict(model: torch.nn.Module, x: Tensor, visible: Tensor) -> Tensor:
    """Our prediction of the pixels of hidden patches, in order."""
    count = 8 if x.ndim == 5 else 4
    hidden = torch.tensor([i for i in range(count) if i not in visible[0]])
    indices = TokenIndices(visible, hidden.expand(2, -1))
    clip = x if x.ndim == 5 else x.unsqueeze(2)
    features = model.backbone.encode(clip, visible, [DEPTH])[DEPTH]
    decoder = model.areas['pixels'].decoder
    return decoder(features, indices, model.backbone.grid())
