"""Codes of a tokenizer as target: MAM2's appearance, BEiT.

B clips of T frames, H x W pixels, (h, w) codes per picture, N tokens of P
codes each, Ns of them scored, K codes in the codebook.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch, Size, token_grid
from bimm_mm.targets.base import Target, fp32_no_grad, patchify
from bimm_mm.utils.choices import check_choice

FRAMES = ('first', 'all')


@MODELS.register_module()
class CodeTarget(Target):
    """Codes of a frozen tokenizer, predicted as classes (cross-entropy).

    A VQGAN of stride 16 has exactly one code for a patch of 16 x 16 pixels
    and a frame. The tokenizer is no part of the model's parameters, of its
    checkpoints or of its training: it follows the data to the device.

    Args:
        tokenizer: Config of a :class:`VQGANTokenizer`, a
            :class:`DALLETokenizer` or of another class with their ``stride``,
            ``num_codes``, ``load``, ``colors`` and call.
        frames: Which frames of a tubelet have their codes predicted. MAM2's
            abstract does not say. ``'first'``: one code per place, at half of
            the tokenizer's cost for tubelets of 2. ``'all'``: every frame's.
    """

    channels = 1

    def __init__(self, tokenizer: dict, *, frames: str = 'first') -> None:
        super().__init__(norm=None)
        check_choice('CodeTarget: frames', frames, FRAMES)
        self.frames = frames
        # In a tuple, so that it is no submodule: no parameters to train, to
        # save or to synchronize.
        self._tokenizer = (MODELS.build(tokenizer),)

    @property
    def tokenizer(self) -> Any:
        """The frozen tokenizer."""
        return self._tokenizer[0]

    def init_weights(self) -> None:
        """Read the tokenizer's file; the runner calls it before training."""
        self.tokenizer.load()

    def map_patch(self, patch: Size) -> Size:
        """Convert a patch to codes: frames, rows and columns.

        Raises:
            ValueError: If the tokenizer's stride does not divide the patch.
        """
        stride = self.tokenizer.stride
        if patch[1] % stride or patch[2] % stride:
            raise ValueError(
                f'CodeTarget: the tokenizer has one code for {stride} x '
                f'{stride} pixels, which does not divide the patch '
                f'{tuple(patch)}: take a tokenizer of a smaller stride or '
                'larger patches'
            )
        frames = 1 if self.frames == 'first' else patch[0]
        return frames, patch[1] // stride, patch[2] // stride

    def out_channels(self, patch: Size) -> int:
        """Count P x K: for each code of a token a score of every class."""
        return super().out_channels(patch) * self.tokenizer.num_codes

    @fp32_no_grad
    def maps(self, clips: ClipBatch) -> Tensor:
        """Find the codes of every frame, (B, 1, T, h, w), int64."""
        return self._codes(clips.pixels)

    def to_rgb(self, maps: Tensor) -> Tensor:
        """Show each code in its own color."""
        colors = self.tokenizer.colors().to(maps.device)
        return colors[maps.squeeze(1)].movedim(-1, 1)

    @fp32_no_grad
    def raw(self, clips: ClipBatch, patch: Size) -> Tensor:
        """Find the codes of every token, (B, N, P), int64."""
        token_grid(clips.size, patch)
        cells = self.map_patch(patch)
        # Only the frames whose codes are predicted are encoded.
        pixels = clips.pixels[:, :, :: patch[0] // cells[0]]
        return patchify(self._codes(pixels), cells)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy, the mean over codes, fp32; ln(K) of even scores.

        Args:
            prediction: (B, Ns, P * K), scores of classes.
            target: (B, Ns, P), codes.
        """
        scores = self._by_class(prediction).float()
        return F.cross_entropy(scores.flatten(0, 2), target.flatten())

    def metrics(self, prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute ``accuracy``: the share of codes that are right."""
        right = self.to_tokens(prediction.detach()) == target
        return {'accuracy': right.float().mean()}

    def to_tokens(self, prediction: Tensor) -> Tensor:
        """Choose the likeliest codes (B, n, P) of scores (B, n, P * K)."""
        return self._by_class(prediction).argmax(dim=-1)

    def extra_repr(self) -> str:
        """Show the option when the model is printed."""
        return f'frames={self.frames!r}'

    def _codes(self, pixels: Tensor) -> Tensor:
        """Codes (B, 1, T, h, w) of frames (B, 3, T, H, W)."""
        frames = pixels.transpose(1, 2)
        codes = self.tokenizer(frames.flatten(0, 1))
        return codes.unflatten(0, frames.shape[:2]).unsqueeze(1)

    def _by_class(self, prediction: Tensor) -> Tensor:
        """(B, n, P * K) to (B, n, P, K)."""
        return prediction.unflatten(-1, (-1, self.tokenizer.num_codes))
