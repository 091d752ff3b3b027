"""CPU time of a training clip: videos against copies, one crop or several.

The training set of a config is loaded from each of some folders, which hold
the same videos, and with so many crops of a decoded video; rounds alternate
between them, load the same samples, and count the CPU time of this process.

Example:
    python -m benchmarks.loader configs/bimm/pretrain_joint_k400.py \
        --videos data/kinetics400/videos_train COPIES --crops 1 4
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from mmengine.config import DictAction

import bimm_mm.compat  # noqa: F401  fixes libraries
from benchmarks import measures
from bimm_mm.apis.config import load_config
from bimm_mm.apis.loader_speed import timed_batches
from bimm_mm.utils.config_parts import dicts
from bimm_mm.utils.video import VideoReader, shrink


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = measures.parser(__doc__, rounds=24)
    parser.add_argument('config', type=Path)
    parser.add_argument('--videos', type=Path, nargs='+', required=True)
    parser.add_argument('--crops', type=int, nargs='+', default=[1, 4])
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, default={}
    )
    return measures.parse(parser, arguments)


def variant(
    args: argparse.Namespace, videos: Path, crops: int
) -> Callable[[], float]:
    """A function that loads a batch and gives CPU seconds per clip."""
    cfg = load_config(args.config, args.cfg_options)
    for node in dicts(cfg.train_dataloader):
        kind = node.get('type')
        if kind == 'VideoDataset':
            node.update(data_prefix=dict(video=str(videos)))
        elif kind == 'bimm_mm.LoadContour':
            node.update(data_root=str(videos))
        elif kind == 'bimm_mm.RepeatCrops':
            node.update(num=crops)
    return timed_batches(cfg)


def compare(source: Path, copies: Path) -> dict[str, float]:
    """Bytes of the copies, and their PSNR in dB at their own size."""
    size, psnr = 0, []
    for path in filter(Path.is_file, source.rglob('*')):
        copy = copies / path.relative_to(source)
        size += copy.stat().st_size
        with VideoReader(str(path)) as first, VideoReader(str(copy)) as second:
            numbers = range(0, len(second), second.stride)
            for x, y in zip(
                first.iterate(numbers), second.iterate(numbers), strict=True
            ):
                x = shrink(x, min(y.shape[:2])).astype(np.float32)
                if x.shape == y.shape:  # h264 has even sides
                    psnr.append(10 * np.log10(255**2 / ((x - y) ** 2).mean()))
    return dict(bytes=size, psnr=float(np.mean(psnr)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    args = parse_args(arguments)
    loads = {
        f'{videos}, R={crops}': variant(args, videos, crops)
        for videos in args.videos
        for crops in args.crops
    }
    times: measures.Times = {name: [] for name in loads}
    for number in range(args.warmup + args.rounds):
        for name, load in loads.items():
            seconds = load()
            if number >= args.warmup:
                times[name].append(seconds)
    first = next(iter(times.values()))
    rates = {
        name: measures.spread([1 / x for x in values])
        for name, values in times.items()
    }
    ratios = {n: measures.ratio(first, values) for n, values in times.items()}
    report = [
        f'{name}: {measures.text(rates[name], ".1f")} clips/s and core, '
        f'{measures.text(ratios[name], ".1f")} times the first'
        for name in times
    ]
    files = {
        str(videos): compare(args.videos[0], videos)
        for videos in args.videos[1:]
    }
    report += [
        f'{name}: {found["bytes"] / 2**20:.2f} MiB, {found["psnr"]:.1f} dB'
        for name, found in files.items()
    ]
    numbers = dict(clips_per_second=rates, ratios=ratios, files=files)
    measures.report(args, numbers, report)


if __name__ == '__main__':
    main()
