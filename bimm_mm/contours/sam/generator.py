"""SAM's masks for a batch of frames, all prompts and masks at once.

N frames of H x W pixels, P prompts at a time, M masks, L pixels along the side
of SAM's masks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from bimm_mm.contours.sam.attention import replace_attention
from bimm_mm.contours.sam.frames import (
    BOUNDARIES,
    Size,
    input_size,
    to_frame,
    to_input,
)
from bimm_mm.utils.choices import check_choice

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

# Masks of the frame's size are made for so many pixels at a time. Measuring
# them needs about 6 bytes a pixel, drawing their contours about 40.
PIXELS = {'cpu': 1 << 21, 'cuda': 1 << 27}
# Image tokens, 4096 for a prompt, decoded at a time. Few on the CPU: large
# pieces of memory go back to the system, and come back as slowly as products.
IMAGE_TOKENS = {'cpu': 1 << 12, 'cuda': 1 << 19}
DTYPES = {
    'fp32': torch.float32,
    'bf16': torch.bfloat16,
    'fp16': torch.float16,
}


@dataclass(frozen=True)
class MaskOptions:
    """Settings of SAM's mask generation, named as there.

    Args:
        points_per_side: Points along each edge of the grid of prompts; each
            gives three masks.
        pred_iou_thresh: Masks whose IoU is predicted above this are kept; 0
            keeps all.
        stability_score_thresh: Masks whose stability, the IoU of the masks
            at two cutoffs, is at least this are kept; 0 keeps all.
        stability_score_offset: Distance of these cutoffs from 0.
        box_nms_thresh: Of two masks of a frame whose boxes overlap by an IoU
            above this, the one of lower predicted IoU is dropped.
        dtype: ``'fp32'``, or ``'bf16'`` or ``'fp16'`` for the network.
        boundary: ``'probability'`` draws the slope of the mask's
            probability, ``'binary'`` its outermost pixels.
    """

    points_per_side: int = 16
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    dtype: str = 'fp32'
    boundary: str = 'probability'

    def __post_init__(self) -> None:
        check_choice('dtype', self.dtype, DTYPES)
        check_choice('boundary', self.boundary, BOUNDARIES)
        # A negative offset would make a score above 1, which keeps all.
        limits = {'points_per_side': 1, 'stability_score_offset': 0}
        for name, least in limits.items():
            if (value := getattr(self, name)) < least:
                raise ValueError(
                    f'{name} must be at least {least}, got {value}'
                )


@dataclass
class Masks:
    """Masks of several frames."""

    logits: Tensor  # (M, L, L), positive within the mask
    frame: Tensor  # (M,) int64, ascending: the frame of each
    point: Tensor  # (M,) int64, the prompt of each, rows first
    iou: Tensor  # (M,) fp32, as predicted
    stability: Tensor  # (M,) fp32
    # (M, 4) fp32, first and last column and row as x0, y0, x1, y1; zeros for
    # an empty mask.
    boxes: Tensor

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, which: Tensor) -> Masks:
        """Those of these indices, or where True."""
        return Masks(*(values[which] for values in vars(self).values()))


class MaskGenerator:
    """The masks of ``SamAutomaticMaskGenerator`` without crops.

    Args:
        sam: The official model, which is taken over: it moves to the device,
            and its attention is replaced.
        options: Which masks are kept.
        device: Where all is computed.
        points_per_batch: Prompts decoded at a time, of all frames together.
            None takes what is fast on the device.
        compiled: Whether to compile the networks.
    """

    def __init__(
        self,
        sam: Sam,
        *,
        options: MaskOptions,
        device: torch.device,
        points_per_batch: int | None = None,
        compiled: bool = False,
    ) -> None:
        self.options, self.device = options, device
        kind = 'cuda' if device.type == 'cuda' else 'cpu'
        self.pixels = PIXELS[kind]
        self.sam = sam.to(device).requires_grad_(False).eval()
        replace_attention(sam)
        # In the decoder, image tokens and upscaling; prompt tokens are few.
        self.dtype = DTYPES[options.dtype]
        sam.mask_decoder.output_upscaling.to(self.dtype)
        for layer in sam.mask_decoder.transformer.layers:
            layer.norm4.to(self.dtype)
        position = sam.prompt_encoder.get_dense_pe()
        self.position = self._channels_last(position)
        self.side = sam.image_encoder.img_size
        tokens = sam.image_encoder.pos_embed[..., 0].numel()
        self.prompts = points_per_batch or max(IMAGE_TOKENS[kind] // tokens, 1)
        self.tokens = lru_cache(maxsize=8)(self._tokens)
        if compiled:
            self.compile()

    def compile(self, backend: str | Callable = 'inductor') -> None:
        """Compile the networks when first used, as ``torch.compile``."""
        for block in self.sam.image_encoder.blocks:
            block.compile(backend=backend)
        self.sam.mask_decoder.transformer.compile(backend=backend)
        # How many prompts have a good mask differs each time.
        self.sam.mask_decoder.output_upscaling.compile(
            backend=backend, dynamic=True
        )

    @torch.no_grad()
    def __call__(self, frames: Tensor) -> Masks:
        """Masks of frames (N, 3, H, W) uint8 RGB; of each by falling IoU."""
        size = (frames.shape[-2], frames.shape[-1])
        embedding = self.encode(frames.to(self.device))
        found = self.candidates(embedding, self.tokens(size))
        logits, frame, point, iou = found
        stability, boxes = self.measure(logits, size)
        masks = Masks(logits, frame, point, iou, stability, boxes)
        threshold = self.options.stability_score_thresh
        if threshold > 0:
            masks = masks.take(masks.stability >= threshold)
        kept = batched_nms(
            masks.boxes,
            masks.iou,
            masks.frame,
            iou_threshold=self.options.box_nms_thresh,
        )
        order = masks.frame[kept].argsort(stable=True)
        return masks.take(kept[order])

    def encode(self, frames: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 -> (N, D, G, G)."""
        encoder, half = self.sam.image_encoder, self.dtype != torch.float32
        mean, std = self.sam.pixel_mean, self.sam.pixel_std
        pixels = to_input(frames, self.side, mean=mean, std=std)
        x = encoder.patch_embed(pixels) + encoder.pos_embed
        # Of the blocks, norms and sums stay fp32.
        with torch.autocast(self.device.type, self.dtype, enabled=half):
            for block in encoder.blocks:
                x = block(x)
        return encoder.neck(x.permute(0, 3, 1, 2))

    def decode(
        self, embedding: Tensor, points: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decode prompts (P, 2, D) for every frame's embedding (N, D, G, G).

        Returns:
            For B = N * P prompts, frame by frame: the IoUs (B, 3) that masks
            are predicted to have, a token for each mask (B, 3, D), and the
            image's tokens (B, G * G, D).
        """
        decoder, prompts = self.sam.mask_decoder, self.sam.prompt_encoder
        image = embedding + prompts.no_mask_embed.weight[0, :, None, None]
        image = self._channels_last(image.repeat_interleave(len(points), 0))
        fixed = torch.cat(
            [decoder.iou_token.weight, decoder.mask_tokens.weight]
        )
        tokens = torch.cat([fixed.expand(len(points), -1, -1), points], 1)
        tokens = tokens.repeat(len(embedding), 1, 1)
        tokens, image = decoder.transformer(
            image, self.position.expand_as(image), tokens
        )
        # The first of four masks is the single one, which is not wanted here.
        iou = decoder.iou_prediction_head(tokens[:, 0])[:, 1:]
        return iou, tokens[:, 2:5], image

    def draw(self, masks: Tensor, image: Tensor) -> Tensor:
        """Mask tokens (M, 3, D), image tokens (M, K, D) -> (M, 3, L, L)."""
        decoder = self.sam.mask_decoder
        side = round(image.shape[1] ** 0.5)
        x = decoder.output_upscaling(image.mT.unflatten(2, (side, side)))
        heads = decoder.output_hypernetworks_mlps[1:]
        weights = [head(masks[:, i]) for i, head in enumerate(heads)]
        logits = torch.stack(weights, 1) @ x.float().flatten(2)
        return logits.unflatten(2, x.shape[2:])

    def _channels_last(self, image: Tensor) -> Tensor:
        """Tokens (B, D, G, G) laid out as the transformer reads them."""
        return image.to(self.dtype, memory_format=torch.channels_last)

    def candidates(
        self, embedding: Tensor, tokens: Tensor
    ) -> tuple[Tensor, ...]:
        """Masks of good predicted IoU, of all prompts (prompts, 2, D).

        Memory: the prompts decoded at a time, and all logits that are kept:
        at most 3 L L numbers for a prompt of a frame.

        Returns:
            Logits (M, L, L), frame, prompt and predicted IoU (M,).
        """
        step = max(self.prompts // len(embedding), 1)
        threshold = self.options.pred_iou_thresh
        parts = []
        for start in range(0, len(tokens), step):
            part = tokens[start : start + step]
            ious, masks, image = self.decode(embedding, part)
            # The one wait for the device per batch of prompts: how many
            # masks are worth drawing decides the shapes of what follows.
            good = (ious > threshold).cpu() | (threshold <= 0)
            prompt, mask = good.nonzero(as_tuple=True)
            drawn, row = prompt.unique_consecutive(return_inverse=True)
            prompt, mask, drawn, row = (
                index.to(self.device) for index in (prompt, mask, drawn, row)
            )
            logits = self.draw(masks[drawn], image[drawn])[row, mask]
            frame, point = prompt // len(part), prompt % len(part) + start
            parts.append((logits, frame, point, ious[prompt, mask]))
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    def measure(self, logits: Tensor, size: Size) -> tuple[Tensor, Tensor]:
        """Stability (M,) and boxes (M, 4) of masks, see :class:`Masks`."""
        from segment_anything.utils import amg

        offset = self.options.stability_score_offset
        stability, boxes = [], []
        for part in logits.split(self._masks_at_once(size)):
            masks = self.in_frame(part, size)
            stability.append(amg.calculate_stability_score(masks, 0.0, offset))
            boxes.append(amg.batched_mask_to_box(masks > 0).float())
        return torch.cat(stability), torch.cat(boxes)

    @torch.no_grad()
    def contours(self, masks: Masks, count: int, size: Size) -> Tensor:
        """Contour strength (N, H, W) fp32: the maximum over a frame's masks.

        1 for the strongest pixel of a frame, all 0 where it has no mask.
        """
        boundary = BOUNDARIES[self.options.boundary]
        maps = torch.zeros(count, *size, device=self.device)
        if not len(masks):
            return maps
        step = self._masks_at_once(size)
        for logits, frame in zip(
            masks.logits.split(step), masks.frame.split(step), strict=True
        ):
            strength = boundary(self.in_frame(logits, size))
            index = frame[:, None, None].expand_as(strength)
            maps.scatter_reduce_(0, index, strength, 'amax')
        highest = maps.amax((1, 2), keepdim=True)
        return torch.where(highest > 0, maps / highest, 0.0)

    def in_frame(self, logits: Tensor, size: Size) -> Tensor:
        """Masks (M, L, L) in the size of the frame, (M, H, W) fp32."""
        return to_frame(logits, size, self.side)

    def _masks_at_once(self, size: Size) -> int:
        """How many masks are held in the frame's size."""
        return max(self.pixels // (size[0] * size[1]), 1)

    @torch.no_grad()
    def _tokens(self, size: Size) -> Tensor:
        """Points of a grid over frames of H x W -> (prompts, 2, D)."""
        from segment_anything.utils.amg import build_point_grid

        height, width = input_size(size, self.side)
        grid = build_point_grid(self.options.points_per_side)
        # (prompts, one point each, 2), in pixels of the input.
        points = torch.from_numpy(grid * (width, height))[:, None]
        points = points.to(self.device)
        labels = torch.ones(points.shape[:2], device=self.device)
        tokens, _ = self.sam.prompt_encoder((points, labels), None, None)
        return tokens
