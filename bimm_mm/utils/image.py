"""Images: read as mmcv's ``LoadImageFromFile`` reads them, or refused by name.

That is 8-bit color, turned as its EXIF orientation says, the first picture of
an animation.
"""

from __future__ import annotations

import os

import cv2
import numpy as np

from bimm_mm.utils.video import (
    UndecodableVideoError,
    media_file,
    note_reading,
    shrink,
)

_MAX_BYTES = 2**30
# FFmpeg finds damage inside a JPEG file that others fill with gray or noise;
# at an eighth of the size it takes two thirds of the time of decoding.
_CHECK = {'err_detect': 'explode', 'lowres': '3'}
# Values of 16 bits are divided by 256. Cameras and scanners fill 10, 12 or 14
# of them, and the picture would be next to black.
_DARK = 2**14


def read_image(path: str) -> np.ndarray:
    """Read an image, (H, W, 3) uint8 BGR.

    Raises:
        UndecodableVideoError: If it is missing, no regular file, empty, no
            image, damaged, too large, or of 16 bits that are hardly used.
    """
    content = np.frombuffer(image_bytes(path), np.uint8)
    image = _decode(content, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image is not None and image.dtype != np.uint8:
        if image.dtype == np.uint16 and image.max() < _DARK:
            raise UndecodableVideoError(
                path,
                f'it has 16 bits, and its largest value is {image.max()}: it '
                'would come out dark; save it with 8 bits',
            )
        image = _decode(content, cv2.IMREAD_COLOR)
    if image is None:
        raise UndecodableVideoError(path, 'it is damaged')
    note_reading()
    return image


def _decode(content: np.ndarray, flags: int) -> np.ndarray | None:
    # What OpenCV says of damage names no file.
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.imdecode(content, flags)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)


def read_small_image(
    path: str, side: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """Read an image and :func:`shrink` it: (h, w, 3) uint8 RGB, and (H, W)."""
    image = read_image(path)
    frame = shrink(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), side)
    return frame, image.shape[:2]


def image_bytes(path: str) -> bytes:
    """The content of an image file that is worth decoding, or an error."""
    from PIL import Image

    file = media_file(path)
    note_reading(path)
    reason = 'it is no image'
    try:
        if os.path.getsize(file) > _MAX_BYTES:
            raise UndecodableVideoError(path, 'it is larger than 1 GB')
        with open(file, 'rb') as stream:
            with Image.open(stream) as image:  # its size is checked
                reason = 'it is damaged'
                image.verify()  # checksums of PNG; libpng prints its own
            stream.seek(0)
            content = stream.read()
    except Image.DecompressionBombError:
        raise UndecodableVideoError(
            path,
            'it has more pixels than a picture may have: make it smaller, or '
            'raise PIL.Image.MAX_IMAGE_PIXELS',
        ) from None
    except (OSError, ValueError, SyntaxError) as error:
        reason = getattr(error, 'strerror', None) or reason
        raise UndecodableVideoError(path, reason) from None
    if content.startswith(b'\xff\xd8') and not _is_whole_jpeg(content):
        raise UndecodableVideoError(path, 'it is damaged')
    return content


def _is_whole_jpeg(content: bytes) -> bool:
    import av

    decoder = av.VideoCodecContext.create('mjpeg', 'r')
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.options = _CHECK
    try:
        decoder.decode(av.Packet(content))
    except av.InvalidDataError:
        return False
    except av.FFmpegError:
        pass  # of a kind that FFmpeg does not know
    return True
