"""What a copy of a video says about its source, and which frames it holds.

A copy holds the frames 0, k, 2k, ... of its source, smaller, as an ordinary
video under the source's name. Its source is what lists, frame numbers and
contours speak of, so that a copy can take its place.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from operator import index

import numpy as np

MARK = '"bimm_mm_copy"'  # in the tag of every copy
_VERSION = 1


class FrameGridError(ValueError):
    """A clip that cannot be moved to the frames that are stored."""


@dataclass(frozen=True)
class Origin:
    """The source of a copy, as the copy's tag ``comment`` names it.

    Args:
        stride: One of so many frames is stored.
        frames: How many frames the source shows.
        fps: Frames per second of the source; 0 if it does not say.
        source: Length and checksum, see
            :func:`bimm_mm.utils.video.length_and_checksum`.
    """

    stride: int
    frames: int
    fps: float
    source: dict[str, int]

    @property
    def stored(self) -> int:
        """How many frames the copy holds."""
        return -(-self.frames // self.stride)

    def tag(self) -> str:
        """Write it as text."""
        return json.dumps({'bimm_mm_copy': _VERSION, **asdict(self)})

    @classmethod
    def of_tag(cls, text: str) -> Origin:
        """Read the tag of a copy; a ValueError if it is broken."""
        try:
            content = json.loads(text)
            found = cls(
                stride=index(content['stride']),
                frames=index(content['frames']),
                fps=float(content['fps']),
                source=dict(content['source']),
            )
            known = content['bimm_mm_copy'] == _VERSION
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f'its tag is broken: {error}') from error
        if not known or min(found.stride, found.frames) < 1:
            raise ValueError('its tag is broken, or of another version')
        return found


def round_down(
    indices: np.ndarray,
    stride: int,
    *,
    interval: int | None,
    following: bool = False,
    where: str,
    remedy: str,
) -> np.ndarray:
    """Move frames to multiples of a stride; they keep their distance.

    Args:
        indices: Numbers of frames.
        stride: One of so many frames is stored.
        interval: Frames from one to the next; None if it varies.
        following: Whether every frame is followed by its successor.
        where: Whose stride it is, for messages.
        remedy: What else can be done about the interval, for messages.

    Raises:
        FrameGridError: If they would not keep their distance.
    """
    if np.size(indices) > 1 and interval and interval % stride:
        raise FrameGridError(
            f'frame_interval={interval} is no multiple of the stride {stride} '
            f'of {where}, so that frames would not keep their distance: set a '
            f'multiple, or {remedy}'
        )
    if following:
        raise FrameGridError(
            'bimm_mm.AppendFollowing samples every frame with the one after '
            f'it, but {where} have one of {stride} frames: store all, at '
            'stride 1'
        )
    return indices // stride * stride
