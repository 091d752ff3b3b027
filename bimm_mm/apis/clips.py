"""Any videos and images, as models take them.

Frames are chosen, resized and cropped as the validation of our downstream
configs does it.

Shapes: B clips, T frames, H x W pixels, h x w of a file; V views of a file, 1
but for a video that an encoder of images sees, frame by frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mmcv
import numpy as np
import torch
from torch import Tensor

from bimm_mm.apis.source import INTERVAL, intervals
from bimm_mm.models.pretrainers.masked_branch import BasePretrainer
from bimm_mm.structures import ClipBatch, Size
from bimm_mm.targets.base import luma
from bimm_mm.targets.contour import sobel_edges
from bimm_mm.utils.image import read_image
from bimm_mm.utils.media import is_image
from bimm_mm.utils.video import UndecodableVideoError, VideoReader

if TYPE_CHECKING:
    from bimm_mm.apis.encoder import Encoder

# Of a video for an encoder of images, spread over its length.
_VIEWS = 16
# ImageNet's photos: the short side is 256 for a crop of 224.
_MARGIN = 8 / 7


def load_clip(x: Any, encoder: Encoder) -> Tensor:
    """Read a video or an image as the encoder takes it.

    A video's clip is from its middle, as in the validation of our configs:
    frames ``encoder.frame_interval`` apart, the last one repeated if the video
    is too short; the short side is resized, the long one cropped.

    Args:
        x: A path, a PIL image, or bytes as an array or tensor, R, G, B: an
            image (h, w, 3) or the frames of a video (N, h, w, 3), which are
            taken as they are if there are T of them.
        encoder: From :func:`bimm_mm.load_encoder`.

    Returns:
        (1, 3, T, H, W), normalized, on the encoder's device. For an encoder of
        images T is 1, and a video becomes 16 frames, evenly spread: (16, 3, 1,
        H, W).

    Raises:
        ValueError: If the file cannot be read, or is an image and the encoder
            takes videos.
    """
    size, interval = encoder.size, encoder.frame_interval
    if not encoder.backbone.video:
        size, interval = (_VIEWS, *size[1:]), None
    media = Media(x)
    if not media.photo:
        clip = crop(media.read(size[0], interval), size)[None]
    elif not encoder.backbone.video:
        clip = crop_photo(media.read(1, None)[0], size)[None]
    else:
        raise ValueError(
            f'{media.name} is an image, and the encoder takes videos of '
            f"{size[0]} frames: load the encoder of images (branch='ventral' "
            'of a joint model), or give the frames of a still video, '
            f'np.stack([image] * {size[0]})'
        )
    if not encoder.backbone.video:
        clip = clip[0].movedim(1, 0).unsqueeze(2)
    return encoder.normalize(clip)


@torch.no_grad()
def load_clips(model: BasePretrainer, items: Sequence[Any]) -> ClipBatch:
    """Read the middle of every video, or images, in the model's size.

    Items are what :func:`load_clip` takes. Contours are Sobel's, computed on
    the device, whatever the model was trained with.

    Returns:
        B clips on the model's device; of a model of images alone, T = 1.

    Raises:
        ValueError: If a file is missing or no sound video or image.
    """
    preprocessor: Any = model.data_preprocessor
    branch: Any = getattr(model, 'dorsal', model)
    size: Size = branch.backbone.size
    if not items:
        raise ValueError('there is no clip: the list is empty')
    interval = next(intervals(model.cfg.get('train_dataloader')), INTERVAL)
    frames = [
        Media(x).read(size[0], interval, pairs=preprocessor.following)
        for x in items
    ]
    clips = torch.stack([crop(each, size) for each in frames])
    if preprocessor.to_rgb:
        clips = clips.flip(1)  # it expects B, G, R
    # One crop each: (B, 1, 3, T, H, W).
    clips = preprocessor({'inputs': clips.unsqueeze(1)})['inputs']
    clips.contour = sobel_edges(luma(clips))
    return clips


class Media:
    """A video or an image: a file, a PIL image, or bytes."""

    def __init__(self, x: Any) -> None:
        self.name, self.array = str(x), None
        if isinstance(x, (str, Path)):
            self.photo = is_image(x)
            if Path(x).is_dir():
                raise ValueError(f'{x} is a folder: give a video or an image')
            return
        if hasattr(x, 'convert'):  # of PIL
            from PIL import ImageOps

            if x.mode[0] in 'IF':  # Pillow makes all above 255 white
                raise ValueError(
                    f'a picture of mode {x.mode} has other values than 8 '
                    'bits: give its file, or a picture of mode RGB'
                )
            x = ImageOps.exif_transpose(x).convert('RGB')
        x = np.asarray(x.cpu() if isinstance(x, Tensor) else x)
        self.name = f'the array {x.shape} of {x.dtype}'
        shaped = x.ndim in (3, 4) and x.shape[-1] == 3 and x.size
        if x.dtype != np.uint8 or not shaped:
            raise ValueError(
                f'{self.name} is neither an image (height, width, 3) nor a '
                'video (frames, height, width, 3) of bytes, uint8, R, G, B; a '
                'clip that is normalized goes through encoder(x)'
            )
        self.photo, self.array = x.ndim == 3, x

    def read(
        self, count: int, interval: int | None, *, pairs: bool = False
    ) -> Sequence[np.ndarray] | np.ndarray:
        """Frames (h, w, 3), R, G, B; with ``pairs`` each and the one after it.

        A ValueError if they cannot be read, or are asked of an image.
        """
        if self.photo and count > 1:
            raise ValueError(
                f'{self.name} is an image, and the model takes videos of '
                f'{count} frames: give a video'
            )
        try:
            if self.photo and self.array is None:
                return [read_image(self.name)[..., ::-1]]
            if self.array is not None:
                frames = self.array[None] if self.photo else self.array
                if len(frames) == count and not pairs:
                    return frames
                return frames[sample(len(frames), count, interval, pairs)]
            with VideoReader(self.name) as reader:
                numbers = reader.round_down(
                    sample(len(reader), count, interval, pairs),
                    interval=interval,
                    following=pairs,
                )
                return reader.get_batch(numbers)
        except UndecodableVideoError as error:
            raise ValueError(str(error)) from None


def sample(
    total: int, count: int, interval: int | None, pairs: bool = False
) -> np.ndarray:
    """Numbers of ``count`` frames of ``total``, as mmaction2's validation.

    ``SampleFrames`` takes them from the middle, ``interval`` apart; without
    an interval ``UniformSample`` spreads them over the video. With ``pairs``
    each is followed by the next one of the video.
    """
    if pairs:
        numbers = sample(total, count, interval)
        after = np.minimum(numbers + 1, total - 1)
        return np.stack([numbers, after], 1).ravel()
    if interval is None:
        part = (total - 1) / count
        return np.round(part * np.arange(count)).astype(int) + int(part / 2)
    offsets = np.arange(count) * interval
    numbers = offsets + max(0, (total - 1 - int(offsets[-1])) // 2)
    # Of a short video the last frame that was chosen is repeated.
    return np.minimum(numbers, numbers[numbers < total][-1])


def crop(frames: Sequence[np.ndarray] | np.ndarray, size: Size) -> Tensor:
    """Frames (h, w, 3) -> uint8 (3, T, H, W), from the middle."""
    _, height, width = size
    h, w = frames[0].shape[:2]
    # mmaction2's Resize of the short side and its CenterCrop.
    large = mmcv.rescale_size((w, h), max(height / h, width / w))
    top, left = (large[1] - height) // 2, (large[0] - width) // 2
    cut = [
        mmcv.imresize(x, large)[top : top + height, left : left + width]
        for x in frames
    ]
    return torch.from_numpy(np.stack(cut)).permute(3, 0, 1, 2)


def crop_photo(image: np.ndarray, size: Size) -> Tensor:
    """An image (h, w, 3) -> uint8 (3, 1, H, W), as ImageNet's validation."""
    _, height, width = size
    h, w = image.shape[:2]
    # mmpretrain's ResizeEdge of the short side and its CenterCrop.
    edge = round(max(height, width) * _MARGIN)
    large = (edge, int(edge * h / w)) if w < h else (int(edge * w / h), edge)
    image = mmcv.imresize(
        image, large, interpolation='bicubic', backend='pillow'
    )
    top, left = round((large[1] - height) / 2), round((large[0] - width) / 2)
    cut = image[top : top + height, left : left + width]
    return torch.from_numpy(cut.copy()).permute(2, 0, 1).unsqueeze(1)
