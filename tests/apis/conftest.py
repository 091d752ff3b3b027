"""Outputs of areas whose targets can be checked by eye."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from bimm_mm.models.head import AreaOutput
from bimm_mm.models.masking import TokenIndices
from bimm_mm.stimulus import Stimulus


class GreyTarget:
    """One number per token: its mean grey value, scaled per clip."""

    leaks = 'true mean and spread of the clip'

    def raw(self, stimulus: Stimulus, patch: tuple[int, int, int]) -> Tensor:
        grey = stimulus.pixels.mean(1, keepdim=True)
        return torch.nn.functional.avg_pool3d(grey, patch).flatten(1)[
            ..., None
        ]

    def __call__(self, stimulus, patch) -> Tensor:
        raw = self.raw(stimulus, patch)
        return (raw - raw.mean(1, keepdim=True)) / raw.std(1, keepdim=True)

    def restore(self, tokens: Tensor, raw: Tensor) -> Tensor:
        return tokens * raw.std(1, keepdim=True) + raw.mean(1, keepdim=True)

    def picture(self, tokens, patch, size) -> Tensor:
        grid = [
            side // length for side, length in zip(size, patch, strict=True)
        ]
        video = tokens.squeeze(2).unflatten(1, grid)
        for axis, length in enumerate(patch, start=1):
            video = video.repeat_interleave(length, axis)
        return video[..., None].expand(-1, -1, -1, -1, 3)


@pytest.fixture
def make_outputs() -> Callable[..., dict[str, AreaOutput]]:
    """Outputs of the given areas that predict their targets exactly."""

    def make(
        *names: str,
        frames: int = 4,
        batch: int = 2,
        branch: str = '',
        seed: int = 0,
    ) -> dict[str, AreaOutput]:
        rng = torch.Generator().manual_seed(seed)
        pixels = torch.rand(batch, 3, frames, 8, 16, generator=rng)
        stimulus = Stimulus(pixels - 0.5, pixels)
        patch = (2 if frames > 1 else 1, 4, 4)
        count = frames // patch[0] * 2 * 4
        order = torch.rand(batch, count, generator=rng).argsort(1)
        half = count // 2
        indices = TokenIndices(order[:, half:], order[:, :half])
        target = GreyTarget()
        wanted = target(stimulus, patch)
        return {
            f'{branch}_{name}'.lstrip('_'): AreaOutput(
                area=SimpleNamespace(name=name, target=target),
                prediction=wanted.gather(1, indices.hidden[..., None]),
                target=wanted,
                scored=indices.hidden,
                indices=indices,
                patch=patch,
                stimulus=stimulus,
            )
            for name in names
        }

    return make
