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

from bimm_mm.contours.sam import boundary
from bimm_mm.contours.sam.decoder import Decoded, Decoder
from bimm_mm.contours.sam.encoder import Encoder
from bimm_mm.contours.sam.resize import Size, input_size, to_frame, to_input
from bimm_mm.contours.sam.upscale import Upscale

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

# Masks of the frame's size are made for so many pixels at a time. Measuring
# them needs about 6 bytes a pixel, drawing their contours about 40.
PIXELS = {'cpu': 1 << 21, 'cuda': 1 << 27}
# Image tokens, 4096 for a prompt, decoded at a time. Few on the CPU: large
# pieces of memory go back to the system, and come back as slowly as products.
IMAGE_TOKENS = {'cpu': 1 << 12, 'cuda': 1 << 20}


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

    Raises:
        ValueError: If a value is out of range or unknown.
    """

    points_per_side: int = 16
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    dtype: str = 'fp32'
    boundary: str = 'probability'

    def __post_init__(self) -> None:
        known: dict[str, list[str]] = {
            'dtype': list(DTYPES),
            'boundary': list(boundary.BOUNDARIES),
        }
        for name, choices in known.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f'{name} {getattr(self, name)!r} is unknown, choose one '
                    f'of {choices}'
                )
        if self.points_per_side < 1:
            raise ValueError(
                'points_per_side must be at least 1, got '
                f'{self.points_per_side}'
            )
        # A negative offset would make a score above 1, which keeps all.
        if self.stability_score_offset < 0:
            raise ValueError(
                'stability_score_offset must not be negative, got '
                f'{self.stability_score_offset}'
            )


@dataclass
class Masks:
    """Masks of several frames.

    Args:
        logits: (M, L, L), positive within the mask.
        frame: (M,) int64, ascending: the frame of each.
        point: (M,) int64, the prompt of each, rows first.
        iou: (M,) fp32, as predicted.
        stability: (M,) fp32.
        boxes: (M, 4) fp32, first and last column and row as x0, y0, x1, y1;
            zeros for an empty mask.
    """

    logits: Tensor
    frame: Tensor
    point: Tensor
    iou: Tensor
    stability: Tensor
    boxes: Tensor

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, which: Tensor) -> Masks:
        """Those of these indices, or where True."""
        return Masks(*(values[which] for values in vars(self).values()))


class MaskGenerator:
    """The masks of ``SamAutomaticMaskGenerator`` without crops.

    Args:
        sam: The official model; its modules move to the device and the dtype.
        options: Which masks are kept.
        device: Where all is computed.
        points_per_batch: Prompts decoded at a time, of all frames together.
            None takes what is fast on the device.
        compiled: Whether to compile the networks.

    Raises:
        ValueError: If ``points_per_batch`` is less than 1.
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
        self.dtype = DTYPES[options.dtype]
        kind = 'cuda' if device.type == 'cuda' else 'cpu'
        if points_per_batch is not None and points_per_batch < 1:
            raise ValueError(
                f'points_per_batch must be at least 1, got {points_per_batch}'
            )
        self.pixels = PIXELS[kind]
        sam = sam.to(device).requires_grad_(False).eval()
        self.side = sam.image_encoder.img_size
        grid = self.side // sam.image_encoder.patch_embed.proj.stride[0]
        default = max(IMAGE_TOKENS[kind] // grid**2, 1)
        self.prompts = points_per_batch or default
        self.mean, self.std = sam.pixel_mean, sam.pixel_std
        prompts = _Prompts(sam, options.points_per_side)
        self.tokens = lru_cache(maxsize=8)(prompts)
        self.encoder = Encoder(sam.image_encoder, self.dtype)
        self.decoder = Decoder(
            sam.mask_decoder, sam.prompt_encoder, self.dtype
        )
        self.upscale = Upscale(sam.mask_decoder, self.dtype)
        if compiled:
            self.compile()

    def compile(self, backend: str | Callable = 'inductor') -> None:
        """Compile the networks when first used, as ``torch.compile``."""
        self.encoder.compile(backend=backend)
        self.decoder.compile(backend=backend)
        # How many prompts have a good mask differs each time.
        self.upscale.compile(backend=backend, dynamic=True)

    @torch.no_grad()
    def __call__(self, frames: Tensor) -> Masks:
        """Masks of frames.

        Args:
            frames: (N, 3, H, W) uint8 RGB, on any device.

        Returns:
            Of all frames; of each in the order of falling IoU.
        """
        size = (frames.shape[-2], frames.shape[-1])
        embedding = self.encode(frames.to(self.device))
        found = self.candidates(embedding, self.tokens(size))
        logits, frame, point, iou = found
        stability, boxes = self.measure(logits, size)
        masks = Masks(logits, frame, point, iou, stability, boxes)
        return self.select(self.stable(masks))

    def encode(self, frames: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 -> (N, D, G, G)."""
        pixels = to_input(frames, self.side, mean=self.mean, std=self.std)
        return self.encoder(pixels)

    def candidates(
        self, embedding: Tensor, tokens: Tensor
    ) -> tuple[Tensor, ...]:
        """Masks of good predicted IoU.

        Memory: the prompts decoded at a time, and all logits that are kept:
        at most 3 L L numbers for a prompt of a frame.

        Args:
            embedding: (N, D, G, G), of :meth:`encode`.
            tokens: (all prompts, 2, D).

        Returns:
            Logits (M, L, L), frame, prompt and predicted IoU (M,).
        """
        image = self.decoder.share(embedding)
        step = max(self.prompts // len(embedding), 1)
        parts = []
        for start in range(0, len(tokens), step):
            part = tokens[start : start + step]
            decoded = self.decoder(image, part)
            # The one wait for the device per batch of prompts: how many
            # masks are worth drawing decides the shapes of what follows.
            good = self._good(decoded.iou).cpu()
            prompt, mask = good.nonzero(as_tuple=True)
            drawn, row = prompt.unique_consecutive(return_inverse=True)
            prompt, mask, drawn, row = (
                index.to(self.device) for index in (prompt, mask, drawn, row)
            )
            logits = self.draw(decoded, drawn)
            frame, point = prompt // len(part), prompt % len(part) + start
            iou = decoded.iou[prompt, mask]
            parts.append((logits[row, mask], frame, point, iou))
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    def draw(self, decoded: Decoded, prompts: Tensor) -> Tensor:
        """Logits (M, 3, L, L) of some prompts (M,) of those decoded."""
        image, masks = decoded.image, decoded.masks
        if not len(prompts):
            side = 4 * round(image.shape[1] ** 0.5)
            return masks.new_empty(0, masks.shape[1], side, side)
        return self.upscale(image[prompts], masks[prompts])

    def measure(self, logits: Tensor, size: Size) -> tuple[Tensor, Tensor]:
        """Stability (M,) and boxes (M, 4) of masks, see :class:`Masks`."""
        offset = self.options.stability_score_offset
        parts = [
            _measure(self.in_frame(part, size), offset)
            for part in logits.split(self._masks(size))
        ]
        stability, boxes = (
            torch.cat(column) for column in zip(*parts, strict=True)
        )
        return stability, boxes

    def stable(self, masks: Masks) -> Masks:
        """Those that differ little between the two cutoffs."""
        threshold = self.options.stability_score_thresh
        if threshold <= 0:
            return masks
        return masks.take(masks.stability >= threshold)

    def select(self, masks: Masks) -> Masks:
        """Those that are not duplicates, sorted by frame."""
        kept = batched_nms(
            masks.boxes,
            masks.iou,
            masks.frame,
            iou_threshold=self.options.box_nms_thresh,
        )
        order = masks.frame[kept].argsort(stable=True)
        return masks.take(kept[order])

    @torch.no_grad()
    def contours(self, masks: Masks, count: int, size: Size) -> Tensor:
        """Contour strength of frames: the maximum over their masks.

        Args:
            masks: Of :meth:`__call__`.
            count: N, frames.
            size: H and W.

        Returns:
            (N, H, W) fp32 in [0, 1]; 1 for the strongest pixel of a
            frame, all 0 where it has no mask.
        """
        draw = boundary.BOUNDARIES[self.options.boundary]
        maps = torch.zeros(count, *size, device=self.device)
        if not len(masks):
            return maps
        step = self._masks(size)
        for logits, frame in zip(
            masks.logits.split(step), masks.frame.split(step), strict=True
        ):
            strength = draw(self.in_frame(logits, size))
            boundary.raise_maximum(strength, frame, onto=maps)
        return boundary.normalize(maps)

    def in_frame(self, logits: Tensor, size: Size) -> Tensor:
        """Masks (M, L, L) in the size of the frame, (M, H, W) fp32."""
        return to_frame(logits, size, self.side)

    def _good(self, iou: Tensor) -> Tensor:
        """Which masks have a predicted IoU that is high enough."""
        threshold = self.options.pred_iou_thresh
        return iou > threshold if threshold > 0 else torch.ones_like(iou) > 0

    def _masks(self, size: Size) -> int:
        """How many masks are held in the frame's size at a time."""
        return max(self.pixels // (size[0] * size[1]), 1)


class _Prompts:
    """Tokens of the points of a grid over a frame.

    Args:
        sam: The official model.
        per_side: Points along each edge.
    """

    def __init__(self, sam: Sam, per_side: int) -> None:
        self.encoder, self.device = sam.prompt_encoder, sam.device
        self.side, self.per_side = sam.image_encoder.img_size, per_side

    @torch.no_grad()
    def __call__(self, size: Size) -> Tensor:
        """Frames of H x W -> (per_side ** 2, 2, D), rows first."""
        # In fp64 on the CPU up to the input's pixels, as the official code.
        along = (torch.arange(self.per_side).double() + 0.5) / self.per_side
        height, width = input_size(size, self.side)
        y, x = torch.meshgrid(along * height, along * width, indexing='ij')
        # (per side, per side, 2) -> (prompts, one point each, 2)
        points = torch.stack([x, y], 2).view(-1, 1, 2).to(self.device)
        labels = torch.ones(points.shape[:2], device=self.device)
        tokens, _ = self.encoder((points, labels), boxes=None, masks=None)
        return tokens


def _measure(logits: Tensor, offset: float) -> tuple[Tensor, Tensor]:
    """Stability (M,) and boxes (M, 4) of masks (M, H, W)."""
    high, low = (
        (logits > cut).flatten(1).sum(1, dtype=torch.int32)
        for cut in (offset, -offset)
    )
    top, bottom = _ends(logits.amax(2) > 0)
    left, right = _ends(logits.amax(1) > 0)
    boxes = torch.stack([left, top, right, bottom], 1)
    return high / low, boxes * (right >= left)[:, None]


def _ends(held: Tensor) -> tuple[Tensor, Tensor]:
    """First and last True of rows (M, L), fp32; crossed where none is."""
    index = torch.arange(held.shape[1], device=held.device).float()
    first = torch.where(held, index, float(held.shape[1])).amin(1)
    return first, torch.where(held, index, -1.0).amax(1)
