"""Samples per second: videos in memory against decoding each time.

Clips of a folder go through a pretraining pipeline (16 frames, every 4th;
enlarging to the input size where frames are smaller, a random crop, resize
and flip) in a dataloader, without a model. Rounds alternate between the two;
the ratio is taken round by round. Decoding once is timed beside them.

Example:
    python tools/benchmarks/in_memory.py videos/ --size 112 --side 128
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from measures import clock, spread
from torch.utils.data import DataLoader, Dataset, RandomSampler

from bimm_mm.registry import DATASETS

ENDINGS = {'.mp4', '.mkv', '.avi', '.webm'}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('videos', help='folder of videos')
    parser.add_argument('--size', type=int, default=224, help='of the input')
    parser.add_argument('--side', type=int, default=256, help='in memory')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--samples', type=int, default=64, help='of a round')
    parser.add_argument('--json', type=Path, help='where figures go')
    return parser.parse_args()


def config(folder: Path, ann_file: Path, size: int) -> dict:
    """Config of the plain dataset, as of the pretraining configs."""
    decode = [
        dict(type='DecordInit', num_threads=1),
        dict(
            type='SampleFrames',
            clip_len=16,
            frame_interval=4,
            out_of_bound_opt='repeat_last',
        ),
        dict(type='DecordDecode'),
    ]
    crop = dict(
        type='MultiScaleCrop',
        input_size=size,
        scales=(1, 0.875, 0.75, 0.66),
        max_wh_scale_gap=1,
        num_fixed_crops=13,
    )
    return dict(
        _scope_='mmaction',
        type='VideoDataset',
        ann_file=str(ann_file),
        delimiter='\t',
        data_prefix=dict(video=str(folder)),
        pipeline=[
            dict(type='bimm_mm.SafeDecode', transforms=decode),
            dict(type='bimm_mm.EnsureMinSize', size=size),
            crop,
            dict(type='Resize', scale=(size, size), keep_ratio=False),
            dict(type='Flip', flip_ratio=0.5),
            dict(type='bimm_mm.PackClipInputs'),
        ],
    )


def write_list(folder: Path, place: Path) -> int:
    """List the videos of a folder; returns how many there are."""
    files = sorted(f for f in folder.rglob('*') if f.suffix.lower() in ENDINGS)
    if not files:
        raise SystemExit(f'in_memory.py: no video in {folder}')
    lines = [f'{file.relative_to(folder)}\t0\n' for file in files]
    place.write_text(''.join(lines))
    return len(files)


def loader(dataset: Dataset, args: argparse.Namespace) -> DataLoader:
    """Loads a round's samples; its workers stay from round to round."""
    return DataLoader(
        dataset,
        batch_size=args.batch,
        sampler=RandomSampler(
            dataset, replacement=True, num_samples=args.samples
        ),
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
        collate_fn=_stack,
    )


def _stack(samples: list[dict]) -> torch.Tensor:
    return torch.stack([sample['inputs'] for sample in samples])


def measure(loaders: list[DataLoader], args: argparse.Namespace) -> list:
    """Samples per second (rounds, loaders), in turn."""
    cpu = torch.device('cpu')
    rates = []
    # The first round starts the workers and is not counted.
    for _ in range(args.rounds + 1):
        seconds = [clock(lambda x=x: list(x), cpu) for x in loaders]
        rates.append([args.samples / second for second in seconds])
    return rates[1:]


def main() -> None:
    """Measure and print."""
    args = parse_args()
    torch.set_num_threads(1)
    folder = Path(args.videos)
    with tempfile.TemporaryDirectory() as place:
        ann_file = Path(place, 'list.txt')
        count = write_list(folder, ann_file)
        plain = config(folder, ann_file, args.size)
        kept = dict(
            type='bimm_mm.InMemoryVideoDataset', side=args.side, dataset=plain
        )
        datasets = [DATASETS.build(plain)]
        once = clock(
            lambda: datasets.append(DATASETS.build(kept)), torch.device('cpu')
        )
        rates = measure([loader(d, args) for d in datasets], args)
    decoding, memory = zip(*rates, strict=True)
    ratios = [m / d for d, m in rates]
    figures = dict(
        videos=count,
        decoding_once=once,
        decoding_each_time=spread(decoding),
        in_memory=spread(memory),
        ratio=spread(ratios),
    )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))
    print(f'{count} videos, decoded once in {once:.1f} s')
    for name in ('decoding_each_time', 'in_memory', 'ratio'):
        low, middle, high = (
            figures[name][key] for key in ('min', 'median', 'max')
        )
        unit = '' if name == 'ratio' else ' samples/s'
        print(f'{name}: {middle:.2f} ({low:.2f} to {high:.2f}){unit}')


if __name__ == '__main__':
    main()
