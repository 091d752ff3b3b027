"""Are frames read by number the right ones, in every container and codec?

    python -m benchmarks.robustness.frame_matrix

Encodes videos whose frames say their own number, in every pair of container
and codec that FFmpeg can write, with and without B-frames, with a variable
rate, and one cut without re-encoding; reads them with a stride and at random,
and prints a table in Markdown. With ``--decord``, of mmaction2's
usual reader too: how many of the frames at a stride of 4 are right.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from itertools import product
from pathlib import Path

import av
import numpy as np

from benchmarks.robustness.common import print_head, print_row
from benchmarks.robustness.numbered import number, write
from bimm_mm.utils.video import UndecodableVideoError, VideoReader

CONTAINERS = (
    *('mp4', 'mov', '3gp', 'm4v', 'mkv', 'webm', 'avi', 'flv', 'asf'),
    *('wmv', 'mpg', 'vob', 'ts', 'mxf', 'nut', 'ogv', 'gif'),
)
QUIET = {'x265-params': 'log-level=none'}
CODECS: dict[str, dict[str, str]] = {
    'libx264': {},
    'libx265': QUIET,
    'mpeg4': {},
    'mpeg2video': {},
    'libvpx': {'deadline': 'realtime'},
    'libvpx-vp9': {'deadline': 'realtime'},
    'libsvtav1': {'preset': '12', 'svtav1-params': 'lp=1'},
    'mjpeg': {},
    'wmv2': {},
    'msmpeg4': {},
    'flv': {},
    'libtheora': {},
}
FRAMES = 80


def judge(path: Path, first: int = 0) -> str:
    """Compare a strided and a scattered reading with the numbers."""
    rng = np.random.default_rng(0)
    try:
        with VideoReader(str(path)) as reader:
            count = len(reader)
            asked = [
                list(range(1, count, 4)),
                sorted(rng.choice(count, 8, replace=False).tolist()),
            ]
            seen = [list(map(number, reader.get_batch(i))) for i in asked]
    except UndecodableVideoError as error:
        return f'refused ({error.reason})'
    wanted = [[first + i for i in indices] for indices in asked]
    if seen != wanted:
        return '**WRONG**'
    return 'right' if count == FRAMES - first else f'right, {count} frames'


def encode(path: Path, codec: str, b_frames: bool, variable: bool) -> bool:
    """Write a video; False where FFmpeg has no such pair."""
    options = {**CODECS[codec], 'g': '12', 'bf': '2' if b_frames else '0'}
    times = [3 * i + i % 3 for i in range(FRAMES)] if variable else None
    try:
        write(path, codec, frames=FRAMES, options=options, times=times)
    except (av.FFmpegError, ValueError, OSError):
        return False
    return True


def read_by_decord(path: Path) -> str:
    """How many frames at a stride of 4 decord reads right."""
    import decord

    asked = list(range(1, FRAMES, 4))
    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        asked = [index for index in asked if index < len(reader)]
        frames = reader.get_batch(asked).asnumpy()
    except Exception as error:  # decord has no class of its own
        return f'refused ({type(error).__name__})'
    right = sum(number(f) == i for f, i in zip(frames, asked, strict=True))
    return f'{right} of {len(asked)} right'


def cut(path: Path, frame: int) -> Path:
    """Cut without re-encoding, as ``ffmpeg -ss -c copy``: an edit list."""
    target = path.with_name(f'cut_{path.name}')
    with av.open(str(path)) as source, av.open(str(target), 'w') as container:
        stream = source.streams.video[0]
        copy = container.add_stream_from_template(stream)
        assert stream.time_base is not None
        start = int(frame / 25 / stream.time_base)
        source.seek(start, stream=stream)
        for packet in source.demux(stream):
            if packet.dts is None or packet.pts is None:
                continue
            packet.pts -= start
            packet.dts -= start
            packet.stream = copy
            container.mux(packet)
    return target


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--decord', action='store_true')
    args = parser.parse_args()
    av.logging.set_level(av.logging.PANIC)
    os.environ['SVT_LOG'] = '0'  # AV1's encoder writes pages
    print_head('container', 'codec', 'B-frames', 'variable rate', 'frames',
               'decord')  # fmt: skip
    right = wrong = 0
    kinds = product(CONTAINERS, CODECS, (False, True), (False, True))
    with tempfile.TemporaryDirectory() as folder:
        for ending, codec, b_frames, variable in kinds:
            path = Path(folder) / f'a.{ending}'
            if not encode(path, codec, b_frames, variable):
                continue
            said = judge(path)
            right += said.startswith('right')
            wrong += 'WRONG' in said
            theirs = read_by_decord(path) if args.decord else ''
            print_row(ending, codec, b_frames, variable, said, theirs)
        path = Path(folder) / 'a.mp4'
        encode(path, 'libx264', True, False)
        print('cut at frame 30, no re-encoding:', judge(cut(path, 30), 30))
    print(f'\n{right} right, {wrong} wrong')


if __name__ == '__main__':
    main()
