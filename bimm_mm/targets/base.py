"""What every prediction target shares.

B clips, T frames (1 for an image), maps of C x T x h x w, N tokens of P values
each, Ns of them scored. A target makes maps, cuts them into tokens and
normalizes the tokens; all of it in fp32 and without gradient. It also knows
how a prediction is scored against it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bimm_mm.structures import ClipBatch
from bimm_mm.targets.tokens import Size, patchify, unpatchify

# One gray level: where pictures vary less than this, dividing by their
# deviation would only amplify rounding and compression noise.
GRAY_LEVEL = 1 / 255

Method = TypeVar('Method', bound=Callable[..., Tensor])


def exact(method: Method) -> Method:
    """Run a method of (target, clips, ...) in fp32, without gradient."""

    @wraps(method)
    def run(self: Target, clips: ClipBatch, *args: Size) -> Tensor:
        device = clips.pixels.device.type
        with torch.no_grad(), torch.autocast(device, enabled=False):
            return method(self, clips, *args)

    return run


def moments(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance over ``dims``, which are kept as ones.

    Two plain passes: as accurate as ``torch.var_mean`` and ten times as fast
    on the CPU.
    """
    mean = x.mean(dims, keepdim=True)
    centered = (x - mean).square_()
    count = x.numel() // mean.numel()
    return mean, centered.sum(dims, keepdim=True).div_(max(count - 1, 1))


def luma(clips: ClipBatch) -> Tensor:
    """Brightness (B, 1, T, H, W) in [0, 1]: .299 R + .587 G + .114 B."""

    def compute() -> Tensor:
        red, green, blue = clips.pixels.float().split(1, dim=1)
        return red.mul(0.299).add_(green, alpha=0.587).add_(blue, alpha=0.114)

    return clips.maps('luma', compute)


class Target(nn.Module):
    """Base class: what an area has to predict.

    A subclass gives :meth:`maps`, :meth:`statistics` and :meth:`color`. One
    that is not predicted value by value, such as codes of a tokenizer, gives
    :meth:`loss`, :meth:`figures` and :meth:`decide` as well.
    ``norms`` maps every normalization it offers to the sentence that pictures
    carry when they use true statistics ('' for none), ``channels`` is C.

    Args:
        norm (str, optional): One of ``norms``; None leaves values as they are.

    Raises:
        ValueError: If ``norm`` is not among ``norms``.
    """

    norms: dict[str, str] = {}
    channels: int

    def __init__(self, norm: str | None) -> None:
        super().__init__()
        if norm is not None and norm not in self.norms:
            raise ValueError(
                f'{type(self).__name__}: norm={norm!r} is unknown, choose one '
                f'of {[*self.norms, None]}'
            )
        self.norm = norm

    @property
    def leaks(self) -> str:
        """Which true statistics :meth:`restore` uses; '' if none."""
        return '' if self.norm is None else self.norms[self.norm]

    def maps(self, clips: ClipBatch) -> Tensor:
        """What is to be predicted, frame by frame: (B, C, T, h, w), fp32."""
        raise NotImplementedError

    def statistics(self, values: Tensor) -> tuple[Tensor | None, Tensor]:
        """Shift and scale of the normalization ``norm``.

        Args:
            values (Tensor): (B, N, P / C, C).

        Returns:
            tuple: Shift (None for zero) and scale, broadcastable to
            ``values``; normalized values are (values - shift) / scale.
        """
        raise NotImplementedError

    def color(self, maps: Tensor) -> Tensor:
        """Maps (B, C, t, h, w) as RGB (B, 3, t, h, w), clamped later."""
        raise NotImplementedError

    def cells(self, patch: Size) -> Size:
        """A patch of pixels in entries of the maps."""
        return patch

    def dim(self, patch: Size) -> int:
        """How many numbers a decoder predicts per token: P.

        Args:
            patch (tuple): Frames, height and width of a token in pixels.
        """
        t, h, w = self.cells(patch)
        return t * h * w * self.channels

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean squared error over the scored tokens, fp32 (eq. 2 and 3).

        Args:
            prediction (Tensor): (B, Ns, ``dim``), of a decoder.
            target (Tensor): (B, Ns, P), scored tokens of :meth:`forward`.

        Returns:
            Tensor: A scalar.
        """
        return F.mse_loss(prediction.float(), target)

    def figures(self, prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
        """What the log tells besides the loss, arguments as :meth:`loss`.

        Returns:
            dict[str, Tensor]: Scalars without gradient by name; no name holds
            "loss", which would be added to the loss. None by default.
        """
        return {}

    def decide(self, prediction: Tensor) -> Tensor:
        """A decoder's numbers (B, n, ``dim``) as tokens (B, n, P)."""
        return prediction.float()

    @exact
    def raw(self, clips: ClipBatch, patch: Size) -> Tensor:
        """Tokens before normalization.

        Args:
            clips (ClipBatch): A batch of clips or images.
            patch (tuple): Frames, height and width of a token in pixels.

        Returns:
            Tensor: (B, N, P), fp32.

        Raises:
            ValueError: If the patch does not divide the clips.
        """
        return patchify(self.maps(clips), self.cells(patch))

    @exact
    def forward(self, clips: ClipBatch, patch: Size) -> Tensor:
        """Normalized tokens (B, N, P), fp32; arguments as :meth:`raw`."""
        raw = self.raw(clips, patch)
        if self.norm is None:
            return raw
        values = self._by_channel(raw)
        shift, scale = self.statistics(values)
        # Dividing is the last step, as the formulas have it: multiplying by
        # the inverse would cost digits where the scale is tiny.
        shifted = values if shift is None else values - shift
        return (shifted / scale).flatten(2)

    def restore(self, tokens: Tensor, raw: Tensor) -> Tensor:
        """Undo the normalization with the true statistics, for pictures.

        Args:
            tokens (Tensor): (B, N, P) in the space of :meth:`forward`.
            raw (Tensor): (B, N, P), the true tokens before normalization.

        Returns:
            Tensor: (B, N, P). It knows what :attr:`leaks` says.
        """
        if self.norm is None:
            return tokens
        shift, scale = self.statistics(self._by_channel(raw))
        values = self._by_channel(tokens) * scale
        return (values if shift is None else values + shift).flatten(2)

    def picture(self, tokens: Tensor, patch: Size, size: Size) -> Tensor:
        """Tokens before normalization as pictures for people.

        Args:
            tokens (Tensor): (B, N, P), from :meth:`raw` or :meth:`restore`.
            patch (tuple): Frames, height and width of a token in pixels.
            size (tuple): Frames, height and width of the clip in pixels.

        Returns:
            Tensor: (B, T, H, W, 3), RGB in [0, 1].
        """
        cells = self.cells(patch)
        t, h, w = (
            s // p * c for s, p, c in zip(size, patch, cells, strict=True)
        )
        maps = unpatchify(tokens, cells, (t, h, w))
        rgb = F.interpolate(self.color(maps), size=size, mode='nearest')
        return rgb.clamp(0, 1).movedim(1, -1)

    def extra_repr(self) -> str:
        """The normalization, for ``print(model)``."""
        return f'norm={self.norm!r}'

    def _by_channel(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (-1, self.channels))
