"""Time SAM contours against the official mask generator.

Both hold the same weights and get the same frames at the same settings:

- official: `SamAutomaticMaskGenerator.generate` of segment-anything, one
  photograph at a time, without crops; masks only, no contours;
- ours: `bimm_mm.contours.sam`, all at once, masks and contours.

With --dtype fp16 the official one runs under autocast of the same type; it
cannot use bfloat16, which NumPy does not have. Rounds alternate between the
two. Then the masks of the last round are compared.

Without --weights the model has random weights. These predict arbitrary IoUs,
so both thresholds are set such that each filter keeps half of the masks of
the first frame. All of these reach the frame's edges, so duplicates by their
boxes would leave one or two: none is removed, on either side. The upscaling
is made smooth (equal kernels for neighboring pixels): noise would slow the
official run-length encoding.

Example:
    python -m benchmarks.sam --points 16 --frames 4 --dtype fp16
    python -m benchmarks.sam --weights sam_vit_b_01ec64.pth
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry
from skimage import data
from torch import Tensor, nn

from benchmarks import measures
from bimm_mm.contours.sam import MaskGenerator, MaskOptions, Masks, load_sam

SIZE = (256, 340)  # height, width
PHOTOS = ('astronaut', 'coffee', 'chelsea', 'rocket')
# Share of masks that each filter keeps where weights are random.
KEEP = 0.5


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = measures.parser(__doc__, rounds=3)
    parser.add_argument('--model', default='vit_b', help='or vit_l, vit_h')
    parser.add_argument('--weights', help='a SAM checkpoint')
    parser.add_argument('--frames', type=int, default=2)
    parser.add_argument('--points', type=int, default=16, help='per side')
    parser.add_argument('--dtype', choices=('fp32', 'fp16'), default='fp32')
    parser.add_argument('--compile', action='store_true', help='ours')
    parser.add_argument(
        '--points-per-batch',
        type=int,
        help='both; default: the official 64, and what we take of the device',
    )
    return measures.parse(parser, arguments)


def read_frames(args: argparse.Namespace) -> list[np.ndarray]:
    """Photographs (H, W, 3), RGB."""
    return [
        cv2.resize(
            getattr(data, PHOTOS[number % len(PHOTOS)])(),
            SIZE[::-1],
            interpolation=cv2.INTER_AREA,
        )
        for number in range(args.frames)
    ]


def random_sam(name: str) -> Any:
    """A SAM of these sizes whose masks are blobs, not noise."""
    torch.manual_seed(0)
    model = sam_model_registry[name]()
    decoder = model.mask_decoder
    with torch.no_grad():
        for block in model.image_encoder.blocks:
            block.attn.rel_pos_h.normal_(std=0.1)
            block.attn.rel_pos_w.normal_(std=0.1)
        for layer in decoder.output_upscaling[::3]:
            kernel = layer.weight[..., :1, :1]
            layer.weight.copy_(kernel.expand_as(layer.weight))
        for head in decoder.output_hypernetworks_mlps:
            head.layers[-1].weight.mul_(100)
        decoder.iou_prediction_head.layers[-1].weight.mul_(10)
        for layer in decoder.transformer.layers:
            layer.cross_attn_token_to_image.q_proj.weight.mul_(4)
            layer.cross_attn_image_to_token.q_proj.weight.mul_(4)
    return model


def choose_options(
    model: nn.Module, frame: Tensor, args: argparse.Namespace
) -> MaskOptions:
    """Official defaults, or for random weights what keeps enough masks."""
    options = MaskOptions(points_per_side=args.points)
    if args.weights:
        return options
    everything = replace(
        options,
        pred_iou_thresh=float('-inf'),
        stability_score_thresh=float('-inf'),
        box_nms_thresh=1.0,
    )
    device = torch.device(args.device)
    masks = MaskGenerator(model, options=everything, device=device)(frame)
    cut = masks.iou.quantile(1 - KEEP).item()
    stability = masks.stability[masks.iou > cut].quantile(1 - KEEP).item()
    return replace(
        everything, pred_iou_thresh=cut, stability_score_thresh=stability
    )


def agreement(
    masks: Masks, drawn: Tensor, official: list[list[dict[str, Any]]]
) -> float:
    """Share of official masks that one of ours, (M, H, W), has at IoU 0.95."""
    found = []
    for frame, records in enumerate(official):
        ours = drawn[masks.frame.to(drawn.device) == frame].flatten(1)
        for record in records:
            mask = torch.from_numpy(record['segmentation']).flatten()
            mask = mask.to(ours.device)
            iou = (ours & mask).sum(1) / (ours | mask).sum(1)
            found.append(bool((iou >= 0.95).any()))
    return sum(found) / max(len(found), 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    args = parse_args(arguments)
    device = torch.device(args.device)
    images = read_frames(args)
    frames = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)

    def fresh() -> nn.Module:
        if args.weights:
            return load_sam(args.weights).model
        return random_sam(args.model)

    options = choose_options(fresh(), frames[:1], args)
    ours = MaskGenerator(
        fresh(),
        options=replace(options, dtype=args.dtype),
        device=device,
        points_per_batch=args.points_per_batch,
        compiled=args.compile,
    )
    # A model of its own: ours may have another dtype.
    official = SamAutomaticMaskGenerator(
        fresh().to(device),
        points_per_side=options.points_per_side,
        points_per_batch=args.points_per_batch or 64,
        pred_iou_thresh=options.pred_iou_thresh,
        stability_score_thresh=options.stability_score_thresh,
        box_nms_thresh=options.box_nms_thresh,
    )
    results: dict[str, Any] = {}

    def run_ours() -> None:
        results['ours'] = ours(frames)
        ours.contours(results['ours'], len(frames), SIZE)

    def run_official() -> None:
        half = args.dtype == 'fp16'
        with torch.autocast(device.type, torch.float16, enabled=half):
            results['official'] = [official.generate(x) for x in images]

    times = measures.in_turn(
        {'official': run_official, 'ours': run_ours}, args
    )
    masks = results['ours']
    drawn = ours.in_frame(masks.logits, SIZE) > 0
    ratio = measures.ratio(times['official'], times['ours'])
    numbers = dict(
        prompted=3 * args.points**2 * args.frames,
        masks=dict(
            ours=len(masks), official=sum(map(len, results['official']))
        ),
        matched=agreement(masks, drawn, results['official']),
        times_faster=ratio,
    )
    lines = [
        'masks: {ours} ours, {official} official'.format(**numbers['masks'])
        + f' of {numbers["prompted"]}; {numbers["matched"]:.1%} of the '
        'official found',
        f'times faster than the official generator: {measures.text(ratio)}',
    ]
    measures.report(args, numbers, lines, seconds=times)


if __name__ == '__main__':
    main()
