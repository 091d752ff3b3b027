"""Tiny configs and inputs, with the parts of the real ones."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch

from bimm_mm.structures import ClipBatch

ARCH = dict(embed_dims=48, depth=4, num_heads=4)
DECODER = dict(
    type='bimm_mm.TransformerDecoder', depth=1, decoder_dims=32, num_heads=2
)
LATENT_DECODER = dict(DECODER, type='bimm_mm.LatentDecoder')
REGRESSOR = dict(type='bimm_mm.LatentRegressor', depth=2, num_heads=4)


def _branch(last: dict, *, video: bool) -> dict:
    areas = [
        dict(
            name='V1',
            after_block=2,
            decoder=dict(
                type='bimm_mm.LinearDecoder', decoder_dims=32, num_heads=2
            ),
            target=dict(type='bimm_mm.GaborTarget'),
        ),
        dict(
            name='V2',
            after_block=3,
            decoder=DECODER,
            target=dict(type='bimm_mm.ContourTarget'),
        ),
        dict(after_block=4, decoder=DECODER, **last),
    ]
    backbone = dict(
        type='bimm_mm.BIMMVisionTransformer', arch=ARCH, img_size=64
    )
    if video:
        backbone.update(num_frames=4, tubelet_size=2)
    kind = 'Tube' if video else 'Random'
    return dict(
        backbone=backbone,
        masking=dict(type=f'bimm_mm.{kind}Masking', ratio=0.75),
        areas=areas,
    )


@pytest.fixture
def ventral_cfg() -> dict:
    """A ventral branch of 4 blocks, areas after 2, 3 and 4."""
    last = dict(name='V4', target=dict(type='bimm_mm.PixelTarget'))
    return copy.deepcopy(_branch(last, video=False))


@pytest.fixture
def dorsal_cfg() -> dict:
    """A dorsal branch of 4 blocks, areas after 2, 3 and 4."""
    last = dict(name='MT', target=dict(type='bimm_mm.MotionTarget'))
    return copy.deepcopy(_branch(last, video=True))


@pytest.fixture
def mam2_cfg(dorsal_cfg) -> dict:
    """A video branch with two areas behind a regressor, one before it."""
    first, _, last = dorsal_cfg['areas']
    pixels = dict(name='pixels', target=dict(type='bimm_mm.PixelTarget'))
    dorsal_cfg['areas'] = [
        first,
        *({**last, 'decoder': LATENT_DECODER, **x} for x in ({}, pixels)),
    ]
    return dict(dorsal_cfg, regressor=REGRESSOR)


def random_clips(
    batch: int = 2, frames: int = 4, side: int = 64, seed: int = 0
) -> ClipBatch:
    """Random clips with random contours; the same for the same seed."""
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.rand(batch, 3, frames, side, side, generator=rng)
    contour = torch.rand(batch, 1, frames, side, side, generator=rng)
    return ClipBatch((pixels - 0.45) / 0.225, pixels, contour)


@pytest.fixture
def make_clips() -> Callable[..., ClipBatch]:
    """See :func:`random_clips`."""
    return random_clips
