"""Time the prediction targets.

Every round times each target once on the same clips. `joint step` is
everything that one step of joint pretraining computes: Gabor, contour and
motion of the clips, and Gabor, contour and pixels of one frame per clip,
which reuses the clips' maps.

Example:
    python -m benchmarks.targets --batch 2 --rounds 9
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import torch

from benchmarks import measures
from bimm_mm.structures import ClipBatch
from bimm_mm.targets import (
    ContourTarget,
    GaborTarget,
    HOGTarget,
    MotionTarget,
    PixelTarget,
    Target,
)

VIDEO, IMAGE = (2, 16, 16), (1, 16, 16)
WHOLE = 'joint step'


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = measures.parser(__doc__, rounds=9)
    parser.add_argument('--batch', type=int, default=2, help='clips')
    parser.add_argument('--frames', type=int, default=16)
    parser.add_argument('--size', type=int, default=224, help='pixels')
    return measures.parse(parser, arguments)


def joint_step(clip: ClipBatch) -> None:
    """All targets of a joint step with the default areas."""
    of_clips: list[Target] = [GaborTarget(), ContourTarget(), MotionTarget()]
    of_frames: list[Target] = [*of_clips[:2], PixelTarget()]
    for target in of_clips:
        target(clip, VIDEO)
    index = torch.zeros(len(clip.pixels), dtype=torch.int64)
    frame = clip.frame(index.to(clip.pixels.device))
    for target in of_frames:
        target(frame, IMAGE)


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    args = parse_args(arguments)
    shape = (args.batch, 3, args.frames, args.size, args.size)
    pixels = torch.rand(shape).to(args.device)
    contour = pixels[:, :1].contiguous()
    targets: dict[str, Target] = {
        'Gabor': GaborTarget(),
        'contour (map)': ContourTarget(),
        'contour (sobel)': ContourTarget('sobel'),
        'motion': MotionTarget(),
        'pixel (videomae)': PixelTarget('videomae'),
        'pixel (mae)': PixelTarget(),
        'HOG': HOGTarget(),
    }

    def clip() -> ClipBatch:
        # A fresh one for every run: it remembers its maps.
        return ClipBatch(pixels, pixels, contour)

    runs: dict[str, Callable[[], object]] = {
        name: partial(lambda run: run(clip(), VIDEO), target)
        for name, target in targets.items()
    }
    runs[WHOLE] = lambda: joint_step(clip())
    times = measures.in_turn(runs, args)
    ratios = {
        name: measures.ratio(values, times[WHOLE])
        for name, values in times.items()
        if name != WHOLE
    }
    lines = [f'of the targets of a {WHOLE}:']
    lines += [f'{n}: {measures.text(values)}' for n, values in ratios.items()]
    measures.report(args, {'ratios': ratios}, lines, seconds=times)


if __name__ == '__main__':
    main()
