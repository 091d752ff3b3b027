"""Damaged copies of videos and images, of seven kinds; files that are none."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable, Iterator
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
_EVIL = (
    *('fifo', 'folder', 'device', 'socket', 'sparse'),
    *('playlist', 'page', 'concat'),
)
_OPTIONS = {'bf': '2', 'g': '12', 'x265-params': 'log-level=none'}


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) // 20, len(content))]


def _head(content: bytes, rng: random.Random) -> bytes:
    size = rng.randrange(16, 400)
    return rng.randbytes(size) + content[size:]


def _flips(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(30):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _block(content: bytes, rng: random.Random) -> tuple[bytes, bytes, bytes]:
    size = rng.randrange(len(content) // 100, len(content) // 5)
    start = rng.randrange(len(content) - size)
    end = start + size
    return content[:start], content[start:end], content[end:]


def _zeros(content: bytes, rng: random.Random) -> bytes:
    before, block, after = _block(content, rng)
    return before + bytes(len(block)) + after


def _noise(content: bytes, rng: random.Random) -> bytes:
    before, block, after = _block(content, rng)
    return before + rng.randbytes(len(block)) + after


def _drop(content: bytes, rng: random.Random) -> bytes:
    before, _, after = _block(content, rng)
    return before + after


def _twice(content: bytes, rng: random.Random) -> bytes:
    before, block, after = _block(content, rng)
    return before + block + block + after


KINDS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    'cut': _cut,
    'head': _head,
    'flips': _flips,
    'zeros': _zeros,
    'noise': _noise,
    'drop': _drop,
    'twice': _twice,
}


def write_sound_videos(folder: Path) -> list[Path]:
    """A numbered video of 80 frames in every container."""
    return [
        numbered.write(
            folder / f'sound.{ending}',
            codec,
            options={**_OPTIONS, 'bf': '0' if codec == 'wmv2' else '2'},
        )
        for ending, codec in CODECS.items()
    ]


def write_sound_images(folder: Path) -> list[Path]:
    """A picture in every format."""
    picture = numbered.picture(5).repeat(4, 0).repeat(4, 1)
    for ending in IMAGES:
        cv2.imwrite(str(folder / f'sound.{ending}'), picture)
    return [folder / f'sound.{ending}' for ending in IMAGES]


def write_evil(folder: Path, ending: str, address: str) -> list[Path]:
    """What is no file, never ends, is huge or names an address."""
    paths = [folder / f'evil_{name}.{ending}' for name in _EVIL]
    fifo, folded, device, unix, sparse, playlist, page, concat = paths
    os.mkfifo(fifo)
    folded.mkdir()
    device.symlink_to('/dev/zero')
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(unix))
    with open(sparse, 'wb') as stream:
        stream.truncate(2**36)
    playlist.write_text(
        f'#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}/a.ts\n'
        '#EXT-X-ENDLIST\n'
    )
    page.write_text(f'<html><img src="{address}/a.png"></html>')
    concat.write_text(f'ffconcat version 1.0\nfile {address}/a.mp4\n')
    return paths


def write_damaged(
    sources: list[Path], folder: Path, *, count: int
) -> Iterator[Path]:
    """Write ``count`` damaged copies of every kind and source."""
    rng = random.Random(0)
    for source in sources:
        content = source.read_bytes()
        for kind, damage in KINDS.items():
            for number in range(count):
                name = f'{source.stem}_{kind}_{number}{source.suffix}'
                path = folder / name
                path.write_bytes(damage(content, rng))
                yield path
