"""Sound videos and images, damaged copies of seven kinds, files that are none.

A kind of media is ``'videos'`` or ``'images'``.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import cv2

from benchmarks.robustness import numbered

# One per container; VP9's encoder does not open on every machine.
CODECS = {
    'mp4': 'libx264',
    'mkv': 'libx265',
    'avi': 'mpeg4',
    'mpg': 'mpeg2video',
    'ts': 'libx264',
    'flv': 'libx264',
    'wmv': 'wmv2',
}
IMAGES = ('jpg', 'png', 'webp', 'bmp', 'tiff', 'gif', 'ppm')
DAMAGES = ('cut', 'head', 'flips', 'zeros', 'noise', 'drop', 'twice')
# Transforms that read a file, before training makes a sample of it.
DECODING: dict[str, list[dict]] = {
    'videos': [
        {'type': 'bimm_mm.VideoInit'},
        {'type': 'mmaction.SampleFrames', 'clip_len': 8, 'frame_interval': 4},
        {'type': 'bimm_mm.VideoDecode'},
    ],
    'images': [{'type': 'mmcv.LoadImageFromFile'}],
}


def damage(content: bytes, how: str, rng: random.Random) -> bytes:
    """Damage the content of a file in one of the ways."""
    if how == 'cut':
        return content[: rng.randrange(len(content) // 20, len(content))]
    if how == 'head':
        size = rng.randrange(16, 400)
        return rng.randbytes(size) + content[size:]
    if how == 'flips':
        flipped = bytearray(content)
        for _ in range(30):
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    size = rng.randrange(len(content) // 100, len(content) // 5)
    start = rng.randrange(len(content) - size)
    before, block = content[:start], content[start : start + size]
    if how == 'zeros':
        block = bytes(size)
    elif how == 'noise':
        block = rng.randbytes(size)
    else:
        block = b'' if how == 'drop' else block * 2
    return before + block + content[start + size :]


def write_sound(folder: Path, media: str) -> list[Path]:
    """A numbered video of 80 frames in every container, or a picture."""
    if media == 'images':
        picture = numbered.picture(5).repeat(4, 0).repeat(4, 1)
        paths = [folder / f'sound.{ending}' for ending in IMAGES]
        for path in paths:
            cv2.imwrite(str(path), picture)
        return paths
    options = {'bf': '2', 'g': '12', 'x265-params': 'log-level=none'}
    return [
        numbered.write(
            folder / f'sound.{ending}',
            codec,
            options=options | ({'bf': '0'} if codec == 'wmv2' else {}),
        )
        for ending, codec in CODECS.items()
    ]


def write_evil(folder: Path, ending: str, address: str) -> list[Path]:
    """What is no file, never ends, is huge or names an address."""
    texts = {
        'playlist': '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n'
        f'{address}/a.ts\n#EXT-X-ENDLIST\n',
        'page': f'<html><img src="{address}/a.png"></html>',
        'concat': f'ffconcat version 1.0\nfile {address}/a.mp4\n',
    }
    names = ('fifo', 'folder', 'device', 'socket', 'sparse', *texts)
    paths = {name: folder / f'evil_{name}.{ending}' for name in names}
    os.mkfifo(paths['fifo'])
    paths['folder'].mkdir()
    paths['device'].symlink_to('/dev/zero')
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(paths['socket']))
    with open(paths['sparse'], 'wb') as stream:
        stream.truncate(2**36)
    for name, text in texts.items():
        paths[name].write_text(text)
    return list(paths.values())


def write_damaged(
    sources: list[Path], folder: Path, *, count: int
) -> Iterator[Path]:
    """Write ``count`` damaged copies of every kind and source."""
    rng = random.Random(0)
    for source in sources:
        content = source.read_bytes()
        for how in DAMAGES:
            for number in range(count):
                name = f'{source.stem}_{how}_{number}{source.suffix}'
                path = folder / name
                path.write_bytes(damage(content, how, rng))
                yield path
