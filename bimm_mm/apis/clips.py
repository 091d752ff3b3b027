"""Any videos, as a pretraining model takes them, for pictures.

Shapes: B videos, T frames, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bimm_mm.models.pretrainers.masked_branch import BasePretrainer
from bimm_mm.structures import ClipBatch, Size
from bimm_mm.targets.base import luma
from bimm_mm.targets.contour import sobel_edges
from bimm_mm.utils.video import VideoReader

_INTERVAL = 4  # frames, where the config does not say


@torch.no_grad()
def load_clips(model: BasePretrainer, paths: Sequence[str]) -> ClipBatch:
    """Read the middle of every video, in the model's size.

    The short side is resized, the long one cropped in the middle. Contours
    are Sobel's, computed on the device, whatever the model was trained with.

    Args:
        model: From :func:`bimm_mm.apis.init_model`; its config says how many
            frames lie between two of a clip.
        paths: The files. Of a video that is too short, the last frame is
            repeated.

    Returns:
        B clips on the model's device; of a model of images alone, T = 1.

    Raises:
        UndecodableVideoError: If a file is missing or no sound video.
    """
    preprocessor: Any = model.data_preprocessor
    branch: Any = getattr(model, 'dorsal', model)
    size: Size = branch.backbone.size
    interval = next(_intervals(model.cfg.get('train_dataloader')), _INTERVAL)
    offsets = np.arange(size[0]) * interval
    if preprocessor.following:
        # Each frame and the one after it in turn.
        offsets = np.stack([offsets, offsets + 1], 1).ravel()
    clips = torch.stack([_read(path, offsets, size) for path in paths])
    if preprocessor.to_rgb:
        clips = clips.flip(1)  # it expects B, G, R
    # One crop each: (B, 1, 3, T, H, W).
    clips = preprocessor({'inputs': clips.unsqueeze(1)})['inputs']
    clips.contour = sobel_edges(luma(clips))
    return clips


def _intervals(node: Any) -> Iterator[int]:
    """``frame_interval`` of every SampleFrames of a config."""
    if isinstance(node, Mapping):
        if str(node.get('type')).endswith('SampleFrames'):
            yield node.get('frame_interval', 1)
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from _intervals(item)


def _read(path: str, offsets: np.ndarray, size: Size) -> Tensor:
    """A clip (3, T, H, W), uint8 RGB, from the middle of a video."""
    with VideoReader(path) as reader:
        start = max(0, (len(reader) - 1 - int(offsets[-1])) // 2)
        indices = np.minimum(start + offsets, len(reader) - 1)
        frames = torch.from_numpy(np.asarray(reader.get_batch(indices)))
    _, height, width = size
    scale = max(height / frames.shape[1], width / frames.shape[2])
    enlarged = [
        max(s, round(n * scale))
        for n, s in zip(frames.shape[1:3], (height, width), strict=True)
    ]
    pictures = F.interpolate(
        frames.movedim(3, 1).float(), enlarged, mode='bicubic', antialias=True
    )
    top, left = (enlarged[0] - height) // 2, (enlarged[1] - width) // 2
    crop = pictures[..., top : top + height, left : left + width]
    return crop.round().clamp(0, 255).byte().movedim(0, 1)
