"""Write JPEG pictures as videos of one frame, for the study's image side.

The study's engine then finetunes and probes encoders of images as it does
those of videos. The bytes of a picture are kept as they are. The folders
``train/CLASS`` and ``val/CLASS`` give classes and split, in ``labels.csv``,
for ``bimm data scan OUT --labels OUT/labels.csv``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pandas as pd
from PIL import Image

from bimm_mm.utils.files import atomic_path, write_text
from bimm_mm.utils.processes import mistakes_told
from bimm_mm.utils.progress import track

ENDINGS = ('.jpg', '.jpeg')


def write_clip(picture: Path, clip: Path) -> None:
    """Wrap the bytes of a JPEG file as a video of one frame."""
    with Image.open(picture) as image:
        if image.format != 'JPEG':
            raise ValueError(f'{picture} holds {image.format}, not JPEG')
        width, height = image.size
    packet = av.Packet(picture.read_bytes())
    with (
        atomic_path(clip) as draft,
        av.open(str(draft), 'w', format='mp4') as container,
    ):
        stream = container.add_mux_stream(
            'mjpeg', rate=1, width=width, height=height
        )
        packet.stream, packet.time_base = stream, Fraction(1, 1)
        packet.pts = packet.dts = 0
        packet.duration = 1
        packet.is_keyframe = True
        container.mux(packet)


def main(argv: Sequence[str] | None = None) -> int:
    """Write all pictures of a folder."""
    parser = argparse.ArgumentParser(
        prog='python -m projects.mini_study.pictures', description=__doc__
    )
    parser.add_argument('folder', type=Path, help='of JPEG files')
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args(argv)
    pictures = sorted(
        path
        for path in args.folder.rglob('*')
        if path.suffix.lower() in ENDINGS
    )
    if not pictures:
        raise ValueError(f'{args.folder} has no file ending in .jpg or .jpeg')
    rows = []
    for path in track(pictures, total=len(pictures), title='pictures'):
        name = path.relative_to(args.folder).with_suffix('.mp4')
        (args.out / name).parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, args.out / name)
        if len(name.parts) == 3 and name.parts[0] in ('train', 'val'):
            rows.append([str(name), name.parts[1], name.parts[0]])
    if rows:
        table = pd.DataFrame(rows, columns=['path', 'class', 'split'])
        write_text(table.to_csv(index=False), args.out / 'labels.csv')
    print(f'{args.out}: {len(pictures)} pictures, {len(rows)} with a class')
    return 0


if __name__ == '__main__':
    with mistakes_told():
        sys.exit(main())
