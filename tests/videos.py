"""Small videos, written on the spot."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import cv2
import numpy as np


def write_video(
    path: Path, frames: Iterable[np.ndarray], codec: str = 'mp4v'
) -> Path:
    """Write frames (H, W, 3), B, G, R, at 25 a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = frames
    size = (first.shape[1], first.shape[0])
    code = cv2.VideoWriter.fourcc(*codec)
    writer = cv2.VideoWriter(str(path), code, 25, size)
    assert writer.isOpened()
    for frame in (first, *rest):
        writer.write(frame)
    writer.release()
    return path


def remux(source: Path, target: Path, *, turns: int = 0) -> Path:
    """The same packets in another container, shown turned by 90 degrees."""
    with av.open(str(source)) as read, av.open(str(target), 'w') as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        if turns:
            stream.set_display_rotation(90 * turns)
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                written.mux(packet)
    return target
