"""Whole frames for an encoder that sees patches."""

from __future__ import annotations

from mmcv.transforms import BaseTransform

from bimm_mm.datasets.transforms.sample import get_frames
from bimm_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ResizeToPatchMultiple(BaseTransform):
    """Resize to a short side, and the long side to whole patches.

    mmaction2's ``Resize`` keeps the aspect ratio to the pixel, and 455 px are
    not 28 patches of 16. The long side is rounded to the nearest multiple,
    at most half a patch away; boxes follow exactly, and no border is added.

    Args:
        short_side (int): Short side of the output in pixels, a multiple of
            ``patch_size``.
        patch_size (int): Side of a patch in pixels.
    """

    def __init__(self, short_side: int, *, patch_size: int) -> None:
        if patch_size < 1 or short_side < 1 or short_side % patch_size:
            raise ValueError(
                f'short_side={short_side} must be a positive multiple of '
                f'patch_size={patch_size}'
            )
        self.short_side = short_side
        self.patch_size = patch_size

    def transform(self, results: dict) -> dict:
        """Resize frames, annotated boxes and proposals.

        Args:
            results (dict): A sample of mmaction2 with frames.

        Returns:
            dict: The same sample.
        """
        height, width = get_frames(results)[0].shape[:2]
        scale = self.short_side / min(height, width)
        size = tuple(
            round(side * scale / self.patch_size) * self.patch_size
            for side in (width, height)
        )
        resize = {'type': 'mmaction.Resize', 'scale': size}
        return TRANSFORMS.build({**resize, 'keep_ratio': False})(results)
