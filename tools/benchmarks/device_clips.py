"""Seconds per batch: clips on the device against videos in memory.

Both decode once. The videos in memory (``InMemoryVideoDataset``) are cropped
by mmaction2's transforms in the workers of a dataloader, and the batch goes
to the device (``ClipDataPreprocessor``); of the frames on the device
(``StimulusFromFrames``) the loader brings numbers only. 16 frames, every
third, a random resized crop and flip, without a model. Rounds alternate
between the two; the ratio is taken round by round.

Example:
    python tools/benchmarks/device_clips.py videos/ --size 112 --side 128
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from in_memory import write_list
from measures import clock, spread
from mmengine.dataset import default_collate
from mmengine.model import BaseDataPreprocessor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from bimm_mm.registry import DATASETS, MODELS

AREA, ASPECT = (0.5, 1.0), (0.75, 1.3333)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('videos', help='folder of videos')
    parser.add_argument('--device', default='cpu', choices=['cpu', 'cuda'])
    parser.add_argument('--size', type=int, default=112, help='of the input')
    parser.add_argument('--side', type=int, default=128, help='in memory')
    parser.add_argument('--frames', type=int, default=16, help='of a clip')
    parser.add_argument('--limit', type=int, help='videos, at most')
    parser.add_argument('--workers', type=int, default=2, help='of both')
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--batches', type=int, default=6, help='of a round')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--json', type=Path, help='where figures go')
    return parser.parse_args()


def in_memory(source: dict, args: argparse.Namespace) -> dict:
    """Config of the videos in memory, with mmaction2's augmentation."""
    decode = [
        dict(type='DecordInit', num_threads=1),
        dict(
            type='SampleFrames',
            clip_len=args.frames,
            frame_interval=3,
            out_of_bound_opt='repeat_last',
        ),
        dict(type='DecordDecode'),
    ]
    size = (args.size, args.size)
    pipeline = [
        dict(type='bimm_mm.SafeDecode', transforms=decode),
        dict(
            type='RandomResizedCrop',
            area_range=AREA,
            aspect_ratio_range=ASPECT,
        ),
        dict(type='Resize', scale=size, keep_ratio=False),
        dict(type='Flip', flip_ratio=0.5),
        dict(type='bimm_mm.PackClipInputs'),
    ]
    dataset = dict(source, pipeline=pipeline)
    kind = 'bimm_mm.InMemoryVideoDataset'
    return dict(type=kind, side=args.side, dataset=dataset)


def numbers(source: dict, frames: dict) -> dict:
    """Config of the numbers of videos."""
    pack = dict(
        type='bimm_mm.PackVideoNumber',
        ann_file=frames['ann_file'],
        data_root=frames['data_root'],
        delimiter=frames['delimiter'],
        label=False,
    )
    return dict(source, pipeline=[pack])


def loader(dataset: Dataset, args: argparse.Namespace) -> DataLoader:
    """Loads a round's samples; its workers stay from round to round."""
    samples = args.batch * args.batches
    return DataLoader(
        dataset,
        batch_size=args.batch,
        sampler=RandomSampler(dataset, replacement=True, num_samples=samples),
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
        pin_memory=args.device == 'cuda',
        collate_fn=default_collate,
    )


def build(
    folder: Path, ann_file: Path, args: argparse.Namespace
) -> list[tuple[DataLoader, BaseDataPreprocessor]]:
    """Videos in memory, and frames on the device."""
    frames = dict(
        ann_file=str(ann_file),
        data_root=str(folder),
        side=args.side,
        delimiter='\t',
    )
    source = dict(
        _scope_='mmaction',
        type='VideoDataset',
        ann_file=str(ann_file),
        delimiter='\t',
        data_prefix=dict(video=str(folder)),
    )
    device = dict(
        type='bimm_mm.StimulusFromFrames',
        frames=frames,
        size=args.size,
        clip_len=args.frames,
        frame_interval=3,
        area_range=AREA,
        aspect_range=ASPECT,
    )
    host = dict(type='bimm_mm.ClipDataPreprocessor')
    pairs = [
        (in_memory(source, args), host),
        (numbers(source, frames), device),
    ]
    return [
        (
            loader(DATASETS.build(dataset), args),
            MODELS.build(preprocessor).to(args.device),
        )
        for dataset, preprocessor in pairs
    ]


def measure(pairs: list, args: argparse.Namespace) -> list[list[float]]:
    """Seconds per batch (rounds, pairs), in turn."""
    device = torch.device(args.device)

    def run(batches: DataLoader, preprocessor: BaseDataPreprocessor) -> None:
        for batch in batches:
            preprocessor(batch, True)

    rounds = [
        [
            clock(lambda p=pair: run(*p), device) / args.batches
            for pair in pairs
        ]
        # The first starts the workers and is not counted.
        for _ in range(args.rounds + 1)
    ]
    return rounds[1:]


def main() -> None:
    """Measure and print."""
    args = parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as place:
        ann_file = Path(place, 'list.txt')
        write_list(Path(args.videos), ann_file)
        lines = ann_file.read_text().splitlines(keepends=True)
        # Every so many, so that all folders are there.
        step = max(1, len(lines) // (args.limit or len(lines)))
        lines = lines[::step][: args.limit]
        ann_file.write_text(''.join(lines))
        pairs = build(Path(args.videos), ann_file, args)
        host, device = zip(*measure(pairs, args), strict=True)
    ratios = [slow / fast for slow, fast in zip(host, device, strict=True)]
    figures = dict(
        in_memory=spread([1000 * second for second in host]),
        on_device=spread([1000 * second for second in device]),
        ratio=spread(ratios),
    )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))
    print(f'{len(lines)} videos, batches of {args.batch} on {args.device}')
    for name, values in figures.items():
        unit = '' if name == 'ratio' else ' ms per batch'
        low, middle, high = (values[key] for key in ('min', 'median', 'max'))
        print(f'{name}: {middle:.2f} ({low:.2f} to {high:.2f}){unit}')


if __name__ == '__main__':
    main()
