"""Time SAM contours against the official mask generator, interleaved.

Both hold the same weights and get the same frames at the same settings:

- official: `SamAutomaticMaskGenerator.generate` of segment-anything, frame by
  frame, without crops; masks only, no contours;
- ours: `bimm_mm.contours.sam`, all frames at once, masks and contours.

Rounds alternate between the two, so a machine that slows down slows both;
ratios are taken round by round. Then the masks of the last round are compared.

Without --weights the model has random weights. These predict arbitrary IoUs,
so both thresholds are set such that each filter keeps the share --keep of the
masks of the first frame. All of these reach the frame's edges, so duplicates
by their boxes would leave one or two: unless --nms says otherwise none is
removed, on either side. The upscaling is made smooth (equal kernels
for neighboring pixels): noise would slow the official run-length encoding.

Example:
    python tools/benchmarks/sam_contours.py --model small --points 16
    python tools/benchmarks/sam_contours.py VIDEO.mp4 --device cuda \
        --weights sam_vit_b_01ec64.pth --dtype bf16 --frames 8
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from measures import clock, spread
from sam_pair import (
    MODELS,
    Stages,
    agreement,
    choose_options,
    official_generator,
    random_sam,
)
from torch import Tensor, nn

from bimm_mm.apis import write_json
from bimm_mm.contours.sam import MaskGenerator, MaskOptions, load_sam

PHOTOS = ('astronaut', 'coffee', 'chelsea', 'rocket')
PICTURES = ('.jpg', '.jpeg', '.png', '.JPEG')


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'source', nargs='?', help='video or folder of images; else photographs'
    )
    parser.add_argument('--model', choices=MODELS, default='small')
    parser.add_argument('--weights', help='a SAM checkpoint, for --model')
    parser.add_argument('--frames', type=int, default=2)
    parser.add_argument('--points', type=int, default=16, help='per side')
    parser.add_argument(
        '--size', type=int, nargs=2, default=(256, 340), help='height, width'
    )
    parser.add_argument('--keep', type=float, default=0.5)
    parser.add_argument(
        '--nms', type=float, help='default: 0.7 with --weights, else 1'
    )
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--warmup', type=int, default=1)
    parser.add_argument('--threads', type=int, help='CPU threads')
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument(
        '--dtype', choices=('fp32', 'bf16', 'fp16'), default='fp32'
    )
    parser.add_argument('--compile', action='store_true', help='ours')
    parser.add_argument('--points-per-batch', type=int, help='ours')
    parser.add_argument('--json', type=Path, help='write the figures here')
    args = parser.parse_args(arguments)
    for name in ('frames', 'points', 'rounds'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} must be at least 1')
    if not 0 < args.keep <= 1:
        parser.error('--keep must be above 0 and at most 1')
    return args


def read_frames(args: argparse.Namespace) -> Tensor:
    """(N, 3, H, W) uint8 RGB, resized."""
    found = []
    for picture in _pictures(args.source):
        small = cv2.resize(
            picture, tuple(args.size[::-1]), interpolation=cv2.INTER_AREA
        )
        found.append(torch.from_numpy(small).permute(2, 0, 1))
        if len(found) == args.frames:
            return torch.stack(found)
    raise SystemExit(f'{args.source} has {len(found)} frames only')


def _pictures(source: str | None) -> Any:
    """RGB pictures (H, W, 3), one after the other."""
    if source is None:
        from skimage import data

        for i in range(10**6):
            yield getattr(data, PHOTOS[i % len(PHOTOS)])()
    elif Path(source).is_dir():
        for path in sorted(Path(source).rglob('*')):
            if path.suffix in PICTURES:
                yield cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    else:
        video = cv2.VideoCapture(source)
        while (read := video.read())[0]:
            yield read[1][..., ::-1].copy()


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    device = torch.device(args.device)
    frames = read_frames(args)
    size = tuple(frames.shape[-2:])

    def fresh() -> nn.Module:
        if args.weights:
            return load_sam(args.weights).model
        return random_sam(args.model)

    options = choose_options(
        fresh(),
        frames.to(device),
        points=args.points,
        keep=None if args.weights else args.keep,
        nms=args.nms,
    )
    options = replace(options, dtype=args.dtype)
    ours = MaskGenerator(
        fresh(),
        options=options,
        device=device,
        points_per_batch=args.points_per_batch,
        compiled=args.compile,
    )
    # A model of its own: ours may have another dtype.
    official = official_generator(fresh().to(device), options)
    pictures = [np.ascontiguousarray(f.permute(1, 2, 0)) for f in frames]
    results: dict[str, Any] = {}

    def run_ours() -> None:
        results['ours'] = ours(frames)
        ours.contours(results['ours'], len(frames), size)

    def run_official() -> None:
        results['official'] = [official.generate(p) for p in pictures]

    times: dict[str, list[float]] = {'official': [], 'ours': []}
    for number in range(args.warmup + args.rounds):
        for name, run in (('official', run_official), ('ours', run_ours)):
            spent = clock(run, device)
            if number >= args.warmup:
                times[name].append(spent)
    stages = Stages(ours, device)
    run_ours()
    return figures(args, options, times, stages, results)


def figures(
    args: argparse.Namespace,
    options: MaskOptions,
    times: dict[str, list[float]],
    stages: Stages,
    results: dict[str, Any],
) -> dict[str, Any]:
    """What is reported."""
    masks, official = results['ours'], results['official']
    pairs = zip(times['official'], times['ours'], strict=True)
    found: dict[str, Any] = dict(
        model=args.weights or f'{args.model}, random weights',
        device=args.device,
        dtype=args.dtype,
        compile=args.compile,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        frames=args.frames,
        size=list(args.size),
        points=args.points,
        rounds=args.rounds,
        thresholds=[options.pred_iou_thresh, options.stability_score_thresh],
        prompted=3 * args.points**2 * args.frames,
        nms=options.box_nms_thresh,
        before_nms=stages.before_nms,
        masks=dict(ours=len(masks), official=sum(map(len, official))),
        matched=agreement(masks, official, tuple(args.size), stages.side),
        times_faster=spread([theirs / ours for theirs, ours in pairs]),
        shares=stages.shares(),
    )
    if args.device != 'cpu':
        found['seconds_a_frame'] = {
            name: spread([t / args.frames for t in spent])
            for name, spent in times.items()
        }
    return found


def report(found: dict[str, Any]) -> None:
    """Print the figures."""
    height, width = found['size']
    print(
        f'{found["model"]}: {found["frames"]} frames of {height} x {width}, '
        f'{found["points"]} x {found["points"]} points, {found["device"]}, '
        f'{found["dtype"]}, compile={found["compile"]}, '
        f'{found["threads"]} threads, torch {found["torch"]}'
    )
    masks, ratio = found['masks'], found['times_faster']
    print(
        f'masks: {masks["ours"]} ours, {masks["official"]} official of '
        f'{found["prompted"]}, {found["before_nms"]} before NMS at '
        f'{found["nms"]}; {found["matched"]:.1%} of the official found'
    )
    print(
        f'times faster than the official generator: {ratio["median"]:.2f} '
        f'({ratio["min"]:.2f} to {ratio["max"]:.2f}, {found["rounds"]} rounds)'
    )
    for name, s in found.get('seconds_a_frame', {}).items():
        print(
            f'  {name:9s} {s["median"]:.4f} s a frame  '
            f'({s["min"]:.4f} to {s["max"]:.4f})'
        )
    shares = found['shares'].items()
    print('share: ' + ', '.join(f'{name} {s:.0%}' for name, s in shares))


def main() -> None:
    """Run the benchmark."""
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    found = measure(args)
    report(found)
    if args.json:
        write_json(found, args.json)


if __name__ == '__main__':
    main()
