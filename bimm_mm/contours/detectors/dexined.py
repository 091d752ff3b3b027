"""DexiNed (Soria et al., 2020), a network that finds edges, by kornia.

Shapes: N frames of H x W pixels.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bimm_mm.contours.detectors.base import Detector
from bimm_mm.contours.detectors.weights import load_weights
from bimm_mm.models.checkpoints.checkpoint import load_fully
from bimm_mm.registry import DETECTORS

DTYPES = {
    'fp32': torch.float32,
    'bf16': torch.bfloat16,
    'fp16': torch.float16,
}
# What the network was trained on: BGR in [0, 255] minus these means.
_MEAN_BGR = (103.939, 116.779, 123.68)
# Four halvings: sides are padded to a multiple of this.
_STRIDE = 16


@DETECTORS.register_module('dexined')
class DexiNedDetector(Detector):
    """Edges of DexiNed: the sigmoid of its fused output.

    kornia's network takes what the authors' does, BGR in [0, 255] without
    the mean, and returns logits of the fused map only. (kornia's own
    ``DexiNedBuilder`` feeds it RGB and resizes to 352 x 352.) Frames keep
    their size; sides are padded to multiples of 16 by reflection.

    Args:
        weights (str): Path of the weights, see ``hint``.
        dtype (str): ``'fp32'``, ``'bf16'`` or ``'fp16'``, of weights and
            activations. Defaults to ``'fp32'``.
        device (str): See :class:`Detector`.

    Raises:
        ValueError: If the file does not hold exactly DexiNed's weights, or
            the type is unknown.
        FileNotFoundError: If there is no file.
        ImportError: If kornia is not installed.
    """

    hint = (
        "DexiNed_BIPED_10.pth in kornia's layout, from "
        'http://cmp.felk.cvut.cz/~mishkdmy/models/DexiNed_BIPED_10.pth'
    )

    def __init__(
        self, *, weights: str, dtype: str = 'fp32', device: str = 'cpu'
    ) -> None:
        super().__init__(device=device)
        if dtype not in DTYPES:
            raise ValueError(
                f'dexined: dtype={dtype!r} is unknown, choose one of '
                f'{list(DTYPES)}'
            )
        self.dtype = dtype
        state, self._hash = load_weights(weights, hint=self.hint)
        # Untrained: with pretrained=True it would download weights.
        network = _kornia().DexiNed(pretrained=False)
        extra = sorted(set(state) - set(network.state_dict()))
        if extra:
            raise ValueError(
                f"{weights} does not hold DexiNed's weights: {extra[0]} is "
                f'not known. Expected is {self.hint}'
            )
        load_fully(network, state, what='DexiNed', source=weights)
        network.to(self.device, DTYPES[dtype]).eval().requires_grad_(False)
        self._network = network

    @torch.no_grad()
    def detect(self, frames: Tensor) -> Tensor:
        """See :meth:`Detector.detect`; H, W >= 16."""
        height, width = frames.shape[-2:]
        x = prepare(frames.to(self.device))
        pad = (0, -width % _STRIDE, 0, -height % _STRIDE)
        x = F.pad(x, pad, mode='reflect').to(DTYPES[self.dtype])
        logits = self._network(x)[:, 0, :height, :width]
        return logits.float().sigmoid()

    def settings(self) -> dict[str, Any]:
        """See :meth:`Detector.settings`."""
        return {
            'detector': 'dexined',
            'dtype': self.dtype,
            'weights': self._hash,
        }


def prepare(frames: Tensor) -> Tensor:
    """RGB (N, 3, H, W) uint8 as the network's input, fp32 of the same size."""
    mean = torch.tensor(_MEAN_BGR, device=frames.device)
    return frames.flip(1).float() - mean.view(1, 3, 1, 1)


def _kornia() -> ModuleType:
    try:
        from kornia.filters import dexined
    except ImportError as error:
        raise ImportError(
            "detector 'dexined' needs kornia: pip install kornia==0.8.2"
        ) from error
    return dexined
