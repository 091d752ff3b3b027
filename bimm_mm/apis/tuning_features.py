"""Features of stimuli: of an encoder's blocks, and without learning.

Shapes: B clips, T frames of H x W pixels, K rows, D features in each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import product

import numpy as np
import torch
from torch import Tensor

from bimm_mm.apis.encoder import Encoder
from bimm_mm.stimuli.base import LUMA
from bimm_mm.structures import Size
from bimm_mm.utils.random_state import torch_seeded

# From bytes (B, 3, T, H, W), R, G, B, to features (B, K, D).
Reader = Callable[[Tensor], Tensor]
_BATCH = 16  # chosen
# Of the filters of motion energy, all chosen: cycles per picture and per
# frame, and the number of directions.
_SPATIAL, _TEMPORAL, _DIRECTIONS = (3, 6, 12), (1 / 8, 1 / 4), 8


def read_features(
    reader: Reader, clips: np.ndarray, device: torch.device
) -> np.ndarray:
    """Features (K, N, D), float32, of uint8 clips (N, T, H, W, 3)."""
    x = torch.from_numpy(clips).movedim(-1, 1)
    with torch.inference_mode():
        rows = [reader(part.to(device)).cpu() for part in x.split(_BATCH)]
    return torch.cat(rows).movedim(1, 0).numpy()


def block_reader(encoder: Encoder) -> Reader:
    """After each of K blocks: :func:`pool` of the patch tokens.

    The last block is read behind the final norm, all in bfloat16 autocast. An
    encoder of images sees the middle frame.
    """
    backbone = encoder.backbone
    first = int(backbone.cls_token is not None)
    counts = range(1, backbone.depth + 1)

    def read(clips: Tensor) -> Tensor:
        if not backbone.video:
            clips = clips[:, :, [clips.shape[2] // 2]]
        x, training = encoder.normalize(clips), encoder.training
        encoder.eval()
        with torch.autocast(x.device.type, torch.bfloat16):
            tokens = backbone.read(x, counts, 'raw')
        encoder.train(training)
        return torch.stack([pool(x[:, first:]) for x in tokens], 1)

    return read


def random_twin(encoder: Encoder, seed: int) -> Encoder:
    """An encoder with the same options and random weights."""
    mean, std = (x.flatten().tolist() for x in (encoder.mean, encoder.std))
    with torch_seeded(seed):
        twin = Encoder(encoder.options, mean=mean, std=std)
    return twin.to(encoder.mean.device).eval()


def pool(tokens: Tensor) -> Tensor:
    """Mean and standard deviation over tokens: (B, L, D) to (B, 2 D)."""
    tokens = tokens.float()
    mean = tokens.mean(1, keepdim=True)
    # Faster than Tensor.std on a CPU.
    variance = (tokens - mean).square().mean(1)
    return torch.cat([mean[:, 0], variance.sqrt()], 1)


def pixel_reader(encoder: Encoder) -> Reader:
    """K = 1: :func:`pool` of the pixels of the encoder's patches."""
    backbone = encoder.backbone

    def read(clips: Tensor) -> Tensor:
        if not backbone.video:
            clips = clips[:, :, [clips.shape[2] // 2]]
        x = clips.float() / 255
        for dim, size in enumerate(backbone.patch, 2):
            x = x.unfold(dim, size, size)
        # (B, 3, t, h, w, patch) to (B, tokens, values of a patch)
        x = x.movedim(1, 4).flatten(4).flatten(1, 3)
        return pool(x)[:, None]

    return read


def motion_energy(clips: Tensor) -> Tensor:
    """Energies of 48 filters, selective for direction, as logarithms; K = 1.

    Pairs of spatiotemporal Gabor filters in quadrature (Adelson and Bergen,
    J. Opt. Soc. Am. A 2, 1985) of three spatial and two temporal frequencies
    and eight directions, on the gray clip without its mean. A pair's energy,
    summed over a clip under a Hann window, is the clip's power spectrum times
    a Gaussian around the pair's frequency; no filter runs over pixels.
    """
    weights = torch.tensor(LUMA, dtype=torch.float32, device=clips.device)
    gray = torch.einsum('bcthw,c->bthw', clips.float() / 255, weights)
    gray = gray - gray.mean((1, 2, 3), keepdim=True)
    size = (gray.shape[1], gray.shape[2], gray.shape[3])
    for dim, count in enumerate(size):
        window = torch.hann_window(
            count + 2, periodic=False, device=gray.device
        )[1:-1]
        gray = gray * window.reshape(-1, *[1] * (2 - dim))
    power = torch.fft.fftn(gray, dim=(1, 2, 3)).abs() ** 2
    bank = _filters(size).to(power.device)
    energy = power.flatten(1) @ bank.flatten(1).T
    return torch.log(energy / math.prod(size) + 1e-6)[:, None]


@cache
def _filters(size: Size) -> Tensor:
    """Squared gains (48, T, H, W) at the frequencies of an FFT."""
    t, y, x = torch.meshgrid(
        *(torch.fft.fftfreq(count) for count in size), indexing='ij'
    )
    gains = []
    for space, time, number in product(
        _SPATIAL, _TEMPORAL, range(_DIRECTIONS)
    ):
        angle = 2 * math.pi * number / _DIRECTIONS
        wave = space / size[2]  # cycles per pixel
        fx, fy = wave * math.cos(angle), wave * math.sin(angle)
        # cos(2 pi (fx x + fy y - time t)) moves along (fx, fy).
        away = ((x - fx) ** 2 + (y - fy) ** 2) / (wave / 2) ** 2
        away = away + ((t + time) / (time / 2)) ** 2
        gains.append(torch.exp(-away / 2))
    return torch.stack(gains)
