"""Real pictures, and clips that pan over them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from bimm_mm.structures import ClipBatch

SIZE = 96


@pytest.fixture(scope='session')
def pixels() -> Tensor:
    """Two clips of four frames, (2, 3, 4, 96, 96), in [0, 1]."""
    clips = []
    for picture in (data.astronaut(), data.chelsea()):
        frames = [
            picture[60 + 2 * t : 60 + 2 * t + SIZE, 100 + 3 * t :][:, :SIZE]
            for t in range(4)
        ]
        clips.append(np.stack(frames).transpose(3, 0, 1, 2))
    return torch.from_numpy(np.stack(clips)).float() / 255


@pytest.fixture
def clip(pixels: Tensor) -> ClipBatch:
    """The clips with a contour map (4-neighbor edges of the red channel)."""
    red = pixels[:, :1]
    contour = (red - red.roll(1, -1)).abs() * 2
    return ClipBatch(inputs=pixels, pixels=pixels, contour=contour.clamp(0, 1))
