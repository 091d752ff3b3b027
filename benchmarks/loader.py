"""Clips per second of a dataloader: one or several crops of a decoded video.

Clips of a folder go through a pretraining pipeline (16 frames, every 4th;
enlarging to the input size where frames are smaller, a random crop, resize) in
a dataloader, without a model. Rounds alternate between one crop of each video
and ``--crops`` of it.

Example:
    python -m benchmarks.loader videos/ --size 112 --crops 4
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

import bimm_mm.compat  # noqa: F401  fixes libraries
from benchmarks import measures
from bimm_mm.registry import DATASETS

ROOT = Path(__file__).resolve().parents[1]
CLIPS = ROOT / 'configs/_base_/datasets/ucf101_clips.py'
ENDINGS = {'.mp4', '.mkv', '.avi', '.webm'}


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = measures.parser(__doc__, rounds=7)
    parser.add_argument('videos', type=Path, help='folder of videos')
    parser.add_argument('--size', type=int, default=224, help='of the input')
    parser.add_argument('--crops', type=int, default=4, help='of a video')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--samples', type=int, default=64, help='of a round')
    return measures.parse(parser, arguments)


def config(folder: Path, ann_file: Path, size: int, crops: int) -> dict:
    """The dataset of the pretraining configs without contours."""
    data = Config.fromfile(str(CLIPS)).train_dataloader.dataset.dataset
    data.ann_file, data.delimiter = str(ann_file), '\t'
    data.data_prefix.video = str(folder)
    _, enlarge, repeat, _ = data.pipeline
    repeat.num = crops
    crop, resize = repeat.transforms
    enlarge.size = crop.input_size = size
    resize.scale = (size, size)
    return data


def loader(dataset: Dataset, args: argparse.Namespace) -> DataLoader:
    """Loads a round's samples; its workers stay from round to round."""
    return DataLoader(
        dataset,
        batch_size=args.batch,
        sampler=RandomSampler(
            dataset,  # type: ignore[arg-type]  # its length is known
            replacement=True,
            num_samples=args.samples,
        ),
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
        collate_fn=_stack,
    )


def _stack(samples: list[dict]) -> Tensor:
    return torch.cat([sample['inputs'] for sample in samples])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    args = parse_args(arguments)
    torch.set_num_threads(1)
    files = sorted(
        path
        for path in args.videos.rglob('*')
        if path.suffix.lower() in ENDINGS
    )
    if not files:
        raise SystemExit(f'no video in {args.videos}')
    with tempfile.TemporaryDirectory() as place:
        ann_file = Path(place, 'list.txt')
        lines = [f'{file.relative_to(args.videos)}\t0\n' for file in files]
        ann_file.write_text(''.join(lines))
        loaders = {
            count: loader(
                DATASETS.build(
                    config(args.videos, ann_file, args.size, count)
                ),
                args,
            )
            for count in (1, args.crops)
        }
        times = measures.in_turn(
            {str(n): partial(list, x) for n, x in loaders.items()}, args
        )
    one, several = times['1'], times[str(args.crops)]
    ratio = measures.ratio([args.crops * x for x in one], several)
    rates = {
        count: measures.spread([int(count) * args.samples / x for x in values])
        for count, values in times.items()
    }
    report = [
        f'{count} crop(s) of a video: {measures.text(values, ".0f")} clips/s'
        for count, values in rates.items()
    ]
    report.append(f'times faster: {measures.text(ratio, ".1f")}')
    numbers = dict(videos=len(files), ratio=ratio, clips_per_second=rates)
    measures.report(args, numbers, report)


if __name__ == '__main__':
    main()
