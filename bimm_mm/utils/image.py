"""Images: read as mmcv's ``LoadImageFromFile`` reads them, or refused by name.

That is 8-bit color, turned as its EXIF orientation says, the first picture of
an animation.
"""

from __future__ import annotations

import os

import cv2
import numpy as np

from bimm_mm.utils.reading import note_reading
from bimm_mm.utils.video import UndecodableVideoError, media_file

_MAX_BYTES = 2**30
# FFmpeg finds damage inside a JPEG file that others fill with gray or noise;
# at an eighth of the size it takes two thirds of the time of decoding.
_CHECK = {'err_detect': 'explode', 'lowres': '3'}
# Values of 16 bits are divided by 256. Cameras and scanners fill 10, 12 or 14
# of them, and the picture would be next to black.
_DARK = 2**14


def read_image(path: str) -> np.ndarray:
    """Read an image.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        UndecodableVideoError: If it is missing, no regular file, empty, no
            image, damaged, too large, or of 16 bits that are hardly used.
    """
    content = np.frombuffer(image_bytes(path), np.uint8)
    try:
        image = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        if image is not None and image.dtype != np.uint8:
            if image.dtype == np.uint16 and image.max() < _DARK:
                raise UndecodableVideoError(
                    path,
                    f'it has 16 bits, and its largest value is {image.max()}: '
                    'it would come out dark; save it with 8 bits',
                )
            image = cv2.imdecode(content, cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise UndecodableVideoError(path, 'it is damaged')
    note_reading()
    return image


def image_bytes(path: str) -> bytes:
    """The content of an image file that is worth decoding.

    Raises:
        UndecodableVideoError: See :func:`read_image`.
    """
    from PIL import Image

    file = media_file(path)
    note_reading(path)
    try:
        if os.path.getsize(file) > _MAX_BYTES:
            raise UndecodableVideoError(path, 'it is larger than 1 GB')
        with open(file, 'rb') as stream:
            with Image.open(stream):
                pass  # its size is checked
            stream.seek(0)
            content = stream.read()
    except Image.DecompressionBombError:
        raise UndecodableVideoError(
            path,
            'it has more pixels than a picture may have: make it smaller, or '
            'raise PIL.Image.MAX_IMAGE_PIXELS',
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or 'it is no image'
        raise UndecodableVideoError(path, reason) from None
    if content.startswith(b'\xff\xd8'):
        _check_jpeg(path, content)
    return content


def _check_jpeg(path: str, content: bytes) -> None:
    import av

    decoder = av.VideoCodecContext.create('mjpeg', 'r')
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.options = _CHECK
    try:
        decoder.decode(av.Packet(content))
    except av.InvalidDataError:
        raise UndecodableVideoError(path, 'it is damaged') from None
    except av.FFmpegError:
        pass  # of a kind that FFmpeg does not know
