"""One contour as a lossless WebP picture, a third smaller than PNG.

Shapes: h x w pixels, the size at which contours are stored.
"""

from __future__ import annotations

import cv2
import numpy as np

ENDING = '.webp'
MAX_SIDE = 16383  # WebP's limit, in pixels
_LOSSLESS = (cv2.IMWRITE_WEBP_QUALITY, 101)


def encode_contour(frame: np.ndarray) -> bytes:
    """One contour as a lossless WebP picture.

    Args:
        frame (np.ndarray): (h, w) uint8, neither side above 16383 px.

    Returns:
        bytes: Equal frames give equal bytes.

    Raises:
        ValueError: If it is anything else.
    """
    if frame.dtype != np.uint8 or frame.ndim != 2 or not frame.size:
        raise ValueError(
            f'contours must be (h, w) uint8, got {frame.shape} {frame.dtype}'
        )
    if max(frame.shape) > MAX_SIDE:
        raise ValueError(
            f'contours of {frame.shape} px (h, w) do not fit into WebP, which '
            f'ends at {MAX_SIDE} px a side: store them smaller'
        )
    return cv2.imencode(ENDING, frame, _LOSSLESS)[1].tobytes()


def decode_contour(picture: bytes) -> np.ndarray | None:
    """The contour of a picture.

    Args:
        picture (bytes): What :func:`encode_contour` returned.

    Returns:
        np.ndarray: (h, w) uint8; None if it is no picture.
    """
    content = np.frombuffer(picture, np.uint8)
    return cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)
