"""Clips of frames on the device: when, where, mirrored; all at once.

Nothing here loops over samples or waits for the device. Random numbers are
those of torch's default generator of the device.

Shapes: B samples, M views of each, T frames, H x W pixels of the crop, S x S
of a stored frame. A box is (left, top, width, height) as a share of the
picture, in [0, 1].
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# As mmaction2's RandomResizedCrop.
_ATTEMPTS = 10


def random_starts(length: Tensor, clip_len: int, interval: int) -> Tensor:
    """Where random clips begin, as mmaction2's ``SampleFrames`` draws.

    Args:
        length (Tensor): (B,) int64, frames of the videos.
        clip_len (int): T.
        interval (int): Frames from one of a clip to the next.

    Returns:
        Tensor: (B, 1) int64, uniform over all starts of clips that fit with
        the frames behind their last; 0 in shorter videos.
    """
    choices = (length - clip_len * interval + 1).clamp(min=1)
    share = torch.rand(len(length), device=length.device)
    # The product may be rounded up to the number of choices.
    starts = (share * choices).long().minimum(choices - 1)
    return starts.unsqueeze(1)


def even_starts(
    length: Tensor, clip_len: int, interval: int, views: int
) -> Tensor:
    """Where clips begin that are spread evenly over a video.

    As mmaction2's ``SampleFrames(num_clips=views, test_mode=True)``.

    Args:
        length (Tensor): (B,) int64, frames of the videos.
        clip_len (int): T.
        interval (int): Frames from one of a clip to the next.
        views (int): M.

    Returns:
        Tensor: (B, M) int64.
    """
    number = torch.arange(views, device=length.device)
    if clip_len == 1:
        step = length.double().unsqueeze(1) / views
        return (number * step + step / 2).long()
    last = (length - (clip_len - 1) * interval - 1).clamp(min=0).unsqueeze(1)
    if views == 1:
        return last // 2
    return (number * (last.double() / (views - 1))).round().long()


def frame_positions(
    starts: Tensor, length: Tensor, clip_len: int, interval: int
) -> Tensor:
    """Which frames the clips show.

    Args:
        starts (Tensor): (B, M) int64.
        length (Tensor): (B,) int64, frames of the videos.
        clip_len (int): T.
        interval (int): Frames from one to the next.

    Returns:
        Tensor: (B, M, T) int64; beyond a video's end its clip's last frame
        (``out_of_bound_opt='repeat_last'``).
    """
    steps = torch.arange(clip_len, device=starts.device)
    starts, length = starts.unsqueeze(2), length.view(-1, 1, 1)
    inside = (length - 1 - starts) // interval
    return starts + interval * steps.minimum(inside)


def random_boxes(
    ratio: Tensor,
    area_range: tuple[float, float],
    aspect_range: tuple[float, float],
) -> Tensor:
    """Random crops, distributed as mmaction2's ``RandomResizedCrop``.

    Ten draws of area (uniform) and aspect ratio (uniform logarithm); the
    first that fits into the picture is placed at random. Where none does, the
    largest square in the middle. Not rounded to whole pixels.

    Args:
        ratio (Tensor): (B,) fp32, width by height of the pictures.
        area_range (tuple[float, float]): Share of the picture.
        aspect_range (tuple[float, float]): Width by height in its pixels.

    Returns:
        Tensor: (B, 4) boxes, fp32.
    """
    shape, device = (len(ratio), _ATTEMPTS), ratio.device
    area = torch.empty(shape, device=device).uniform_(*area_range)
    low, high = (math.log(value) for value in aspect_range)
    aspect = torch.empty(shape, device=device).uniform_(low, high).exp()
    # In shares of the picture, which is ``ratio`` times as wide as high.
    aspect = aspect / ratio.unsqueeze(1)
    sizes = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], 2)
    fits = (sizes <= 1).all(2)
    first = fits.byte().argmax(1).view(-1, 1, 1).expand(-1, 1, 2)
    size = sizes.gather(1, first).squeeze(1)
    corner = torch.rand(len(ratio), 2, device=device) * (1 - size)
    boxes = torch.cat([corner, size], 1)
    return boxes.where(fits.any(1, keepdim=True), center_boxes(ratio))


def center_boxes(ratio: Tensor) -> Tensor:
    """The largest square in the middle.

    Args:
        ratio (Tensor): (B,) fp32, width by height of the pictures.

    Returns:
        Tensor: (B, 4) boxes, fp32.
    """
    size = torch.stack([1 / ratio, ratio], 1).clamp(max=1)
    return torch.cat([(1 - size) / 2, size], 1)


def mirrored(boxes: Tensor, flip_ratio: float) -> Tensor:
    """Mirror some crops.

    Args:
        boxes (Tensor): (B, 4).
        flip_ratio (float): How many of them, in [0, 1].

    Returns:
        Tensor: (B, 4) boxes; a mirrored one begins at its right edge and has
        a negative width.
    """
    left, top, width, height = boxes.unbind(1)
    flip = torch.rand(len(boxes), device=boxes.device) < flip_ratio
    return torch.stack(
        [left + width * flip, top, torch.where(flip, -width, width), height],
        1,
    )


def crop(frames: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Cut boxes out of clips, by linear interpolation.

    Args:
        frames (Tensor): (B, M, T, 3, S, S) uint8.
        boxes (Tensor): (B, 4), one for all frames of a sample.
        size (int): H and W, pixels.

    Returns:
        Tensor: (B, M, 3, T, H, W), fp32 in [0, 1].
    """
    # (H,): centers of pixels, as a share of the crop.
    centers = (torch.arange(size, device=boxes.device) + 0.5) / size
    corner, extent = boxes.view(-1, 2, 2, 1).unbind(1)
    # (B, 2, H) in grid_sample's coordinates: -1 and 1 are the outer edges.
    x, y = (2 * (corner + extent * centers) - 1).unbind(1)
    rows = (-1, size, size)
    grid = torch.stack(
        [x[:, None].expand(rows), y[:, :, None].expand(rows)], 3
    )
    cut = F.grid_sample(
        frames.flatten(1, 3).float(),
        grid,
        padding_mode='border',
        align_corners=False,
    )
    clips = cut.unflatten(1, frames.shape[1:4]).transpose(2, 3)
    return clips.div_(255)
