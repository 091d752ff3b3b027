"""Videos whose frames say their own number, in any container and codec."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

HEIGHT, WIDTH, BITS = 64, 112, 8


def picture(number: int) -> np.ndarray:
    """(64, 112, 3): the number in white (1) and black (0) fields."""
    rng = np.random.default_rng(number % 3)
    image = rng.integers(90, 160, (8, 14, 3)).repeat(8, 0).repeat(8, 1)
    for bit in range(BITS):
        left = 4 + bit * 13
        image[8:32, left : left + 12] = 235 if number >> bit & 1 else 16
    return image.astype(np.uint8)


def number(image: np.ndarray) -> int:
    """What :func:`picture` wrote."""
    return sum(
        (image[16:24, 8 + bit * 13 : 12 + bit * 13].mean() > 126) << bit
        for bit in range(BITS)
    )


def write(
    path: Path,
    codec: str,
    *,
    frames: int = 80,
    options: dict[str, str] | None = None,
    times: list[int] | None = None,
) -> Path:
    """Encode ``frames`` numbered frames at 25 a second.

    Args:
        path: Its ending decides the container.
        codec: Name of FFmpeg's encoder.
        frames: How many.
        options: Of the encoder, such as ``{'bf': '2', 'g': '12'}``.
        times: When each is shown, in 1/25 s; without, one after the other.
    """
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
        stream.codec_context.time_base = Fraction(1, 25)
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index), format='rgb24')
            frame.pts = times[index] if times else index
            frame.time_base = Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
