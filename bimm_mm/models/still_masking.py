"""Masking that depends on what is shown, an image or a clip: OmniMAE."""

from __future__ import annotations

import torch
from mmengine.model import BaseModule

from bimm_mm.models.masking import TokenIndices
from bimm_mm.registry import MODELS


@MODELS.register_module()
class ImageOrVideoMasking(BaseModule):
    """One masking for images, another one for clips.

    An image is an input that is one token long in time, such as two equal
    frames for an encoder with tubelets of two.

    Args:
        still (dict): Config of the :class:`Masking` of images.
        clip (dict): Config of that of clips.
    """

    def __init__(self, still: dict, *, clip: dict) -> None:
        super().__init__()
        self.still = MODELS.build(still)
        self.clip = MODELS.build(clip)

    def forward(
        self,
        batch: int,
        grid: tuple[int, int, int],
        *,
        device: torch.device | None = None,
        generator: torch.Generator | None = None,
    ) -> TokenIndices:
        """Draw the tokens to hide, see :meth:`Masking.forward`."""
        masking = self.still if grid[0] == 1 else self.clip
        return masking(batch, grid, device=device, generator=generator)
