"""What the parts of a model hand to each other: data, without behavior.

Shapes: B clips, T frames (1 for an image), H x W pixels; (t, h, w) grid of N
tokens, Nv of them visible and Nh hidden, Ns scored; P numbers per token in
the target, Q in the prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

# Along time, height and width: of a clip, of a patch or of a grid of tokens.
Size = tuple[int, int, int]


def size_of(clips: Tensor) -> Size:
    """Frames, height and width (T, H, W) of (B, C, T, H, W)."""
    _, _, frames, height, width = clips.shape
    return frames, height, width


@dataclass
class ClipBatch:
    """A batch of clips with everything that encoder and targets need.

    Args:
        inputs: (B, 3, T, H, W), normalized, for the encoder.
        pixels: (B, 3, T, H, W), fp32 RGB in [0, 1], for the targets.
        contour: (B, 1, T, H, W), fp32 contour strength in [0, 1]. None where
            no contours were loaded.
        following: (B, 3, T, H, W), pixels of the frame that the video shows
            right after each one, for motion between decoded frames. None
            where only the sampled frames were loaded.
    """

    inputs: Tensor
    pixels: Tensor
    contour: Tensor | None = None
    following: Tensor | None = None
    _maps: dict[Hashable, Tensor] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> Size:
        """Frames, height and width (T, H, W)."""
        return size_of(self.pixels)

    def maps(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """Return the feature maps stored under ``key``, computed only once.

        Several targets, and both branches of BIMM, start from the same maps,
        such as the brightness of every frame.

        Args:
            key: Identifies the maps. Two targets that pass the same key must
                compute the same maps.
            compute: Called without arguments if the maps are not known yet.

        Returns:
            (B, C, T, h, w), frame by frame.
        """
        if key not in self._maps:
            self._maps[key] = compute()
        return self._maps[key]

    def frame(self, index: Tensor) -> ClipBatch:
        """Pick one frame of every clip.

        Maps that are already known are handed over: they are computed frame
        by frame, so those of the picked frame need not be computed again.

        Args:
            index: (B,), int64, which frame of each clip.

        Returns:
            A batch with T = 1.
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


class TokenIndices(NamedTuple):
    """Which tokens of every sample are visible and which are hidden.

    Args:
        visible: (B, Nv), int64: tokens that enter the encoder.
        hidden: (B, Nh), int64: tokens to be predicted. These are all others,
            unless a decoder masking leaves some of them out.
    """

    visible: Tensor
    hidden: Tensor


@dataclass
class AreaOutput:
    """What one area predicted and what it should have predicted.

    Args:
        area: Name of the area, such as ``'V1'``.
        prediction: (B, Ns, Q), normalized like the target.
        target: (B, Ns, P), the target at the scored tokens, normalized.
        scored: (B, Ns), int64: which tokens count.
        indices: Visible and hidden tokens.
        patch: Frames, height and width of a token in pixels.
        clips: What the branch was shown.
        loss: The unweighted loss, a scalar. Given in evaluation only.
        metrics: Further scalars by name. Given in evaluation only.
    """

    area: str
    prediction: Tensor
    target: Tensor
    scored: Tensor
    indices: TokenIndices
    patch: Size
    clips: ClipBatch
    loss: Tensor | None = None
    metrics: dict[str, Tensor] = field(default_factory=dict)
