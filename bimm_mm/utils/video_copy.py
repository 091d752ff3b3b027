"""Smaller copies of videos, of every k-th frame, that decode fast.

Training samples the frames 0, k, 2k, ... alone where contours are stored at
stride k; of the source all frames between two key frames must be decoded for
it. A copy takes its source's place, see :mod:`bimm_mm.utils.origin`.

Shapes: H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from bimm_mm.utils.choices import check_choice
from bimm_mm.utils.files import atomic_path, read_json, write_first
from bimm_mm.utils.origin import Origin
from bimm_mm.utils.video import VideoReader

KEY_FRAMES = 8  # frames between two at which decoding can start
_FPS = 25  # of copies of files that do not say
_FILE = 'copies.json'
# Measured (docs/benchmarks.md): a smaller q or crf costs more bytes than it
# gives quality, and without fastdecode h264 takes twice as long to decode.
_CODECS: dict[str, tuple[str, str, dict[str, str]]] = {
    'jpeg': ('mjpeg', 'yuvj420p', {'qmin': '3', 'qmax': '3'}),
    'h264': (
        'libx264',
        'yuv420p',
        {
            'crf': '18',
            'preset': 'veryfast',
            'tune': 'fastdecode',
            'bf': '0',
            'g': str(KEY_FRAMES),
        },
    ),
}


@dataclass(frozen=True, kw_only=True)
class CopySettings:
    """How videos are copied.

    Args:
        every: One of so many frames is kept.
        short_side: In pixels, at most; 0 leaves the size.
        codec: ``'jpeg'``, where every frame can be read alone, or
            ``'h264'``, which is smaller and slower to read.
    """

    every: int = 1
    short_side: int = 0
    codec: str = 'h264'

    def __post_init__(self) -> None:
        check_choice('codec', self.codec, _CODECS)
        if (name := _CODECS[self.codec][0]) not in av.codecs_available:
            raise ValueError(f'this PyAV has no {name}: choose another codec')
        if self.every < 1:
            raise ValueError(f'every={self.every} is not at least 1')
        if self.short_side and self.short_side < 16:
            raise ValueError(
                f'short_side={self.short_side} is less than one patch, 16'
            )

    def claim(self, folder: str | Path) -> None:
        """Note in a folder how copies are made; ValueError if otherwise."""
        path = Path(folder, _FILE)
        write_first(asdict(self), path)
        if (there := read_json(path)) != asdict(self):
            raise ValueError(
                f'{folder} holds copies of {there}, not of {asdict(self)}: '
                'choose another folder, or delete this one'
            )


@contextmanager
def open_copy(
    reader: VideoReader, path: str | Path, settings: CopySettings
) -> Generator[Callable[[np.ndarray], None], None, None]:
    """Write a copy, which appears whole or not at all.

    Yields:
        Takes the frames 0, k, 2k, ..., each (H, W, 3) uint8 RGB.

    Raises:
        OSError: If it cannot be written.
        UndecodableVideoError: If it lacks frames at the end.
    """
    origin = Origin(settings.every, len(reader), reader.fps, reader.source)
    name, pixels, options = _CODECS[settings.codec]
    step = 2 if settings.codec == 'h264' else 1  # which wants even sides
    rate = Fraction(reader.fps or _FPS) / settings.every
    with atomic_path(path) as draft:
        with av.open(str(draft), 'w', format='mp4') as container:
            container.metadata['comment'] = origin.tag()
            stream: Any = container.add_stream(
                name, rate=rate.limit_denominator(1001), options=options
            )
            stream.codec_context.thread_count = 1
            stream.pix_fmt = pixels

            def write(image: np.ndarray) -> None:
                image = _fit(image, settings.short_side, step)
                stream.height, stream.width = image.shape[:2]
                frame = av.VideoFrame.from_ndarray(image, format='rgb24')
                container.mux(stream.encode(frame))

            yield write
            container.mux(stream.encode())
        VideoReader(str(draft)).close()  # it counts the frames


def _fit(image: np.ndarray, side: int, step: int) -> np.ndarray:
    """Shrink to a short side at most, sides multiples of a step."""
    sides = image.shape[:2]
    scale = min(1.0, side / min(sides)) if side else 1.0
    height, width = (max(step, step * round(n * scale / step)) for n in sides)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
