"""What the eyes receive: one batch of clips or images, as every part sees it.

Shapes: B clips, T frames (1 for an image), H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class ClipBatch:
    """A batch of clips with everything that encoder and targets need.

    Feature maps that several targets or both branches need are computed once:
    :meth:`maps` remembers them, and :meth:`frame` hands those already known
    to the picture that the ventral branch sees.

    Args:
        inputs (Tensor): (B, 3, T, H, W), normalized, for the encoder.
        pixels (Tensor): (B, 3, T, H, W), fp32 RGB in [0, 1], for the targets.
        contour (Tensor, optional): (B, 1, T, H, W), fp32 contour strength in
            [0, 1]. None where no contours were loaded.
        following (Tensor, optional): (B, 3, T, H, W), pixels of the frame that
            the video shows right after each one, for motion between decoded
            frames. None where only the sampled frames were loaded.
    """

    inputs: Tensor
    pixels: Tensor
    contour: Tensor | None = None
    following: Tensor | None = None
    _maps: dict[Hashable, Tensor] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> tuple[int, int, int]:
        """Frames, height and width (T, H, W)."""
        _, _, frames, height, width = self.pixels.shape
        return frames, height, width

    def maps(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """Per-frame maps (B, C, T, h, w) under ``key``, computed at most once.

        Args:
            key (Hashable): What identifies the maps: two targets that pass
                the same key must compute the same maps.
            compute (Callable): Called without arguments if the maps are not
                known yet.
        """
        if key not in self._maps:
            self._maps[key] = compute()
        return self._maps[key]

    def frame(self, index: Tensor) -> ClipBatch:
        """One frame per clip, as a clips of T = 1.

        Args:
            index (Tensor): (B,), which frame of each clip.
        """
        row = torch.arange(len(index), device=index.device)

        def pick(x: Tensor) -> Tensor:
            return x[row, :, index].unsqueeze(2)

        def optional(x: Tensor | None) -> Tensor | None:
            return None if x is None else pick(x)

        return ClipBatch(
            inputs=pick(self.inputs),
            pixels=pick(self.pixels),
            contour=optional(self.contour),
            following=optional(self.following),
            _maps={key: pick(maps) for key, maps in self._maps.items()},
        )
