"""A SAM and its two mask generators, of which one is timed by stages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from measures import clock
from segment_anything import SamAutomaticMaskGenerator
from torch import Tensor, nn

from bimm_mm.contours.sam import MaskGenerator, MaskOptions, Masks
from bimm_mm.contours.sam.load import Architecture, build_sam
from bimm_mm.contours.sam.resize import Size, to_frame

STAGES = ('encoder', 'decoder', 'upscaling', 'resize', 'NMS', 'boundary')
DECODER = dict(
    channels=256,
    mask_channels=16,
    layers=2,
    decoder_mlp=2048,
    masks=3,
    iou_depth=3,
    iou_width=256,
)
MODELS = {
    'small': dict(width=192, depth=4, heads=3, grid=32, last=(3,)),
    'vit_b': dict(width=768, depth=12, heads=12, grid=64, last=(2, 5, 8, 11)),
    'vit_l': dict(
        width=1024, depth=24, heads=16, grid=64, last=(5, 11, 17, 23)
    ),
    'vit_h': dict(
        width=1280, depth=32, heads=16, grid=64, last=(7, 15, 23, 31)
    ),
}


def random_sam(name: str) -> nn.Module:
    """A SAM of these sizes whose masks are blobs, not noise."""
    sizes = dict(MODELS[name])
    torch.manual_seed(0)
    model = build_sam(
        Architecture(
            **DECODER,
            global_blocks=sizes.pop('last'),
            window=14,
            patch=16,
            mlp=4 * sizes['width'],
            **sizes,
        )
    )
    decoder = model.mask_decoder
    with torch.no_grad():
        for block in model.image_encoder.blocks:
            block.attn.rel_pos_h.normal_(std=0.1)
            block.attn.rel_pos_w.normal_(std=0.1)
        for layer in decoder.output_upscaling[::3]:
            layer.weight.copy_(
                layer.weight[..., :1, :1].expand_as(layer.weight)
            )
        for head in decoder.output_hypernetworks_mlps:
            head.layers[-1].weight.mul_(100)
        decoder.iou_prediction_head.layers[-1].weight.mul_(10)
        for layer in decoder.transformer.layers:
            layer.cross_attn_token_to_image.q_proj.weight.mul_(4)
            layer.cross_attn_image_to_token.q_proj.weight.mul_(4)
    return model


def choose_options(
    model: nn.Module,
    frames: Tensor,
    *,
    points: int,
    keep: float | None,
    nms: float | None,
) -> MaskOptions:
    """Official defaults, or for random weights what keeps enough masks.

    Args:
        model (nn.Module): A SAM.
        frames (Tensor): (N, 3, H, W) uint8, on the device to compute on.
        points (int): Along each edge.
        keep (float, optional): Share of masks that each filter keeps of the
            first frame; None for the default thresholds.
        nms (float, optional): IoU of boxes above which they are duplicates.

    Returns:
        MaskOptions: In fp32.
    """
    if keep is None:
        return MaskOptions(
            points_per_side=points, box_nms_thresh=0.7 if nms is None else nms
        )
    size = tuple(frames.shape[-2:])
    ours = MaskGenerator(
        model,
        options=MaskOptions(
            points_per_side=points, pred_iou_thresh=float('-inf')
        ),
        device=frames.device,
    )
    with torch.no_grad():
        embedding = ours.encode(frames[:1])
        logits, _, _, iou = ours.candidates(embedding, ours.tokens(size))
        cut = iou.quantile(1 - keep).item()
        stability, _ = ours.measure(logits[iou > cut], size)
    return MaskOptions(
        points_per_side=points,
        pred_iou_thresh=cut,
        stability_score_thresh=stability.quantile(1 - keep).item(),
        box_nms_thresh=1.0 if nms is None else nms,
    )


def official_generator(
    model: nn.Module, options: MaskOptions
) -> SamAutomaticMaskGenerator:
    """The generator of segment-anything at the same settings."""
    return SamAutomaticMaskGenerator(
        model,
        points_per_side=options.points_per_side,
        pred_iou_thresh=options.pred_iou_thresh,
        stability_score_thresh=options.stability_score_thresh,
        box_nms_thresh=options.box_nms_thresh,
    )


class Stages:
    """Seconds that each stage of a generator takes.

    Args:
        generator (MaskGenerator): Its methods are wrapped.
        device (torch.device): Where it computes.
    """

    def __init__(self, generator: MaskGenerator, device: torch.device) -> None:
        self.device, self.side = device, generator.side
        self.before_nms = 0
        self.seconds: dict[str, float] = defaultdict(float)
        for method, stage in (
            ('encode', 'encoder'),
            ('candidates', 'decoder'),
            ('draw', 'upscaling'),
            ('measure', 'resize'),
            ('select', 'NMS'),
            ('contours', 'boundary'),
        ):
            run = getattr(generator, method)
            setattr(generator, method, self._timed(run, stage))

    def _timed(self, run: Callable[..., Any], stage: str) -> Callable:
        def wrapped(*args: Any) -> Any:
            kept: list[Any] = []
            self.seconds[stage] += clock(
                lambda: kept.append(run(*args)), self.device
            )
            if stage == 'NMS':
                self.before_nms = len(args[0])
            return kept[0]

        return wrapped

    def shares(self) -> dict[str, float]:
        """Of the time of all stages; the decoder's without upscaling."""
        seconds = dict(self.seconds)
        seconds['decoder'] -= seconds['upscaling']
        whole = sum(seconds.values())
        return {stage: seconds[stage] / whole for stage in STAGES}


def agreement(
    masks: Masks, official: list[list[dict]], size: Size, side: int
) -> float:
    """Share of official masks that one of ours has at an IoU of 0.95."""
    logits = to_frame(masks.logits, size, side)
    matched, count = 0, 0
    for frame, records in enumerate(official):
        ours = (logits[masks.frame.to(logits.device) == frame] > 0).flatten(1)
        for record in records:
            count += 1
            mask = torch.from_numpy(record['segmentation']).flatten()
            mask = mask.to(ours.device)
            both = (ours & mask).sum(1)
            matched += bool((both / (ours | mask).sum(1) >= 0.95).any())
    return matched / max(count, 1)
