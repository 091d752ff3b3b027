"""What every target shares: from maps over frames to normalized tokens.

A target makes maps, cuts them into tokens and normalizes the tokens; all of
it in fp32 and without gradient. It also knows how a prediction is scored
against it, and how both are shown.

Shapes: B clips of T frames (1 for an image), H x W pixels; maps of C channels
with T x h x w entries; a patch of (pt, ph, pw) map entries; N = T/pt * h/ph *
w/pw tokens, t slowest and w fastest, of P = pt * ph * pw * C numbers each; Ns
tokens are scored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bimm_mm.structures import ClipBatch, Size, token_grid
from bimm_mm.utils.choices import check_choice

# One gray level: where pictures vary less than this, dividing by their
# deviation would only amplify rounding and compression noise.
GRAY_LEVEL = 1 / 255

Owner = TypeVar('Owner', bound='Target')
Rest = ParamSpec('Rest')


def fp32_no_grad(
    method: Callable[Concatenate[Owner, ClipBatch, Rest], Tensor],
) -> Callable[Concatenate[Owner, ClipBatch, Rest], Tensor]:
    """Run a method of (target, clips, ...) in fp32 and without gradient."""

    @wraps(method)
    def run(
        self: Owner, clips: ClipBatch, *args: Rest.args, **kwargs: Rest.kwargs
    ) -> Tensor:
        device = clips.pixels.device.type
        with torch.no_grad(), torch.autocast(device, enabled=False):
            return method(self, clips, *args, **kwargs)

    return run


def luma(clips: ClipBatch) -> Tensor:
    """Brightness (B, 1, T, H, W) in [0, 1]: .299 R + .587 G + .114 B."""

    def compute() -> Tensor:
        red, green, blue = clips.pixels.float().split(1, dim=1)
        return red.mul(0.299).add_(green, alpha=0.587).add_(blue, alpha=0.114)

    return clips.maps('luma', compute)


def sobel(x: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel derivatives of (B, C, H, W) along x and y; a step of 1 gives 4.

    Pictures are reflected at their border, H, W > 1.
    """
    x = F.pad(x, (1, 1, 1, 1), mode='reflect')
    # Both filters are separable: smooth one way, differ the other way.
    smooth = _smooth(x, 2)
    dx = smooth[..., 2:] - smooth[..., :-2]
    return dx, _smooth(x[..., 2:, :] - x[..., :-2, :], 3)


def _smooth(x: Tensor, dim: int) -> Tensor:
    """The binomial filter 1, 2, 1 along one dimension, which shrinks by 2."""
    size = x.shape[dim] - 2
    first, middle, last = (x.narrow(dim, i, size) for i in range(3))
    return (first + last).add_(middle, alpha=2)


def moments(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance over ``dims``, which are kept as ones."""
    var, mean = torch.var_mean(x, dims, keepdim=True)
    return mean, var


def clip_moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (B, 1, 1, 1) of every clip of (B, N, P / C, C).

    With one deviation per clip, predicting the mean costs 1. A deviation
    below one gray level counts as one.
    """
    mean, var = moments(values, (1, 2, 3))
    return mean, var.sqrt().clamp_min(GRAY_LEVEL)


def patchify(maps: Tensor, patch: Size) -> Tensor:
    """Cut maps (B, C, T, h, w) into tokens (B, N, P), as VideoMAE does.

    The numbers of a token run over frame, row, column and, fastest, channel.

    Raises:
        ValueError: If the patch of (pt, ph, pw) entries does not divide the
            maps.
    """
    batch, channels, frames, height, width = maps.shape
    t, h, w = token_grid((frames, height, width), patch)
    pt, ph, pw = patch
    maps = maps.reshape(batch, channels, t, pt, h, ph, w, pw)
    maps = maps.permute(0, 2, 4, 6, 3, 5, 7, 1)  # (B, t, h, w, pt, ph, pw, C)
    return maps.reshape(batch, t * h * w, pt * ph * pw * channels)


def unpatchify(tokens: Tensor, patch: Size, size: Size) -> Tensor:
    """Put tokens (B, N, P) together to maps (B, C, T, h, w) of a size.

    The inverse of :func:`patchify`, with C = P / (pt * ph * pw).

    Raises:
        ValueError: If the patch does not divide ``size``, or the tokens do
            not fit both.
    """
    grid = token_grid(size, patch)
    batch, count, numbers = tokens.shape
    volume = patch[0] * patch[1] * patch[2]
    if count != grid[0] * grid[1] * grid[2] or numbers % volume:
        raise ValueError(
            f'tokens of shape {tuple(tokens.shape)} do not fit maps of '
            f'{tuple(size)} in patches of {tuple(patch)}'
        )
    maps = tokens.view(batch, *grid, *patch, numbers // volume)
    maps = maps.permute(0, 7, 1, 4, 2, 5, 3, 6)  # (B, C, t, pt, h, ph, w, pw)
    return maps.reshape(batch, numbers // volume, *size)


class Target(nn.Module):
    """Base class: what an area has to predict.

    A subclass gives :meth:`maps`, :meth:`statistics` and :meth:`to_rgb`. One
    that is not predicted number by number, such as codes of a tokenizer,
    gives :meth:`loss`, :meth:`metrics` and :meth:`to_tokens` as well.

    The class attribute ``norms`` maps every normalization on offer to the
    sentence that pictures carry when they use true statistics ('' for none),
    ``channels`` is C.

    Args:
        norm: One of ``norms``; None leaves the numbers as they are.
    """

    norms: dict[str, str] = {}
    channels: int

    def __init__(self, norm: str | None) -> None:
        super().__init__()
        name = f'{type(self).__name__}: norm'
        check_choice(name, norm, [*self.norms, None])
        self.norm = norm

    def maps(self, clips: ClipBatch) -> Tensor:
        """Compute what is to be predicted by frame, (B, C, T, h, w), fp32."""
        raise NotImplementedError

    def statistics(self, values: Tensor) -> tuple[Tensor | None, Tensor]:
        """Compute shift (None for zero) and scale of the normalization.

        Normalized values are (values - shift) / scale. Both are broadcast to
        ``values``, (B, N, P / C, C).
        """
        raise NotImplementedError

    def to_rgb(self, maps: Tensor) -> Tensor:
        """Color maps (B, C, t, h, w) as (B, 3, t, h, w), clamped later."""
        raise NotImplementedError

    def legend(self) -> dict[float, list[float]]:
        """Colors that :meth:`to_rgb` gives to edges, by their direction.

        Directions are in degrees, counterclockwise from upright; colors are
        R, G, B in [0, 1]. Empty where colors mean no direction.
        """
        return {}

    def map_patch(self, patch: Size) -> Size:
        """Convert a patch in pixels to entries of the maps."""
        return patch

    def out_channels(self, patch: Size) -> int:
        """Count the numbers that a decoder predicts per patch in pixels."""
        t, h, w = self.map_patch(patch)
        return t * h * w * self.channels

    @fp32_no_grad
    def raw(self, clips: ClipBatch, patch: Size) -> Tensor:
        """Make tokens before normalization, (B, N, P), fp32.

        Raises:
            ValueError: If the patch, in pixels, does not divide the clips.
        """
        return patchify(self.maps(clips), self.map_patch(patch))

    @fp32_no_grad
    def forward(self, clips: ClipBatch, patch: Size) -> Tensor:
        """Make normalized tokens (B, N, P), fp32; see :meth:`raw`."""
        raw = self.raw(clips, patch)
        if self.norm is None:
            return raw
        values = self._by_channel(raw)
        shift, scale = self.statistics(values)
        # Dividing is the last step, as the formulas have it: multiplying by
        # the inverse would cost digits where the scale is tiny.
        shifted = values if shift is None else values - shift
        return (shifted / scale).flatten(2)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean squared error over the scored tokens, fp32 (eq. 2 and 3).

        Args:
            prediction: (B, Ns, ``out_channels``), of a decoder.
            target: (B, Ns, P), scored tokens of :meth:`forward`.
        """
        return F.mse_loss(prediction.float(), target)

    def metrics(self, prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute what the log shows besides the loss; none by default.

        Arguments are those of :meth:`loss`, values are scalars without
        gradient. No name holds "loss", which MMEngine would add to the loss.
        """
        return {}

    def to_tokens(self, prediction: Tensor) -> Tensor:
        """Turn a decoder's numbers (B, n, ``out_channels``) into tokens."""
        return prediction.float()

    @property
    def uses_true_stats(self) -> str:
        """Which true statistics :meth:`denormalize` uses; '' if none."""
        return '' if self.norm is None else self.norms[self.norm]

    def denormalize(self, tokens: Tensor, raw: Tensor) -> Tensor:
        """Undo the normalization of tokens (B, N, P), for pictures.

        The statistics are those of ``raw``, the true tokens before
        normalization: :attr:`uses_true_stats` says what that gives away.
        """
        if self.norm is None:
            return tokens
        shift, scale = self.statistics(self._by_channel(raw))
        values = self._by_channel(tokens) * scale
        return (values if shift is None else values + shift).flatten(2)

    def visualize(self, tokens: Tensor, patch: Size, size: Size) -> Tensor:
        """Show tokens before normalization as pictures (B, T, H, W, 3).

        Args:
            tokens: (B, N, P), from :meth:`raw` or :meth:`denormalize`.
            patch: Frames, height and width of a token in pixels.
            size: Frames, height and width of the clip in pixels.
        """
        entries = self.map_patch(patch)
        t, h, w = (
            s // p * n for s, p, n in zip(size, patch, entries, strict=True)
        )
        maps = unpatchify(tokens, entries, (t, h, w))
        # Maps coarser than pixels, such as cells, are shown as squares.
        rgb = F.interpolate(self.to_rgb(maps), size=size, mode='nearest')
        return rgb.clamp(0, 1).movedim(1, -1)

    def extra_repr(self) -> str:
        """Show the normalization when the model is printed."""
        return f'norm={self.norm!r}'

    def _by_channel(self, tokens: Tensor) -> Tensor:
        """Split (B, N, P) into (B, N, P / C, C)."""
        return tokens.unflatten(-1, (-1, self.channels))


class CellTarget(Target):
    """Base class of targets averaged over square cells and over a tubelet.

    A cell larger than the patch gives its tokens the same numbers, so that a
    decoder may predict them at a coarser grid (LocalMIM's last level).

    Args:
        norm: See :class:`Target`.
        cell: Edge of a cell in pixels; divides the patch or is a multiple of
            it.
    """

    def __init__(self, norm: str | None, *, cell: int) -> None:
        super().__init__(norm)
        self.cell = cell

    def map_patch(self, patch: Size) -> Size:
        """Convert a patch to cells; frames of a tubelet become one.

        Raises:
            ValueError: If neither of cell and patch divides the other.
        """
        if any(p % self.cell and self.cell % p for p in patch[1:]):
            raise ValueError(
                f'{type(self).__name__}: cell={self.cell} neither divides the '
                f'patch {tuple(patch)} nor is a multiple of it: choose a cell '
                'that does'
            )
        _, height, width = patch
        return 1, max(height // self.cell, 1), max(width // self.cell, 1)

    @fp32_no_grad
    def raw(self, clips: ClipBatch, patch: Size) -> Tensor:
        """Make tokens before normalization; see :meth:`Target.raw`."""
        cells = self.map_patch(patch)
        token_grid(clips.size, patch)
        # (B, C, T, ...) to (B, C, t, tubelet, ...), and its mean.
        maps = self.maps(clips).unflatten(2, (-1, patch[0])).mean(3)
        # Tokens smaller than a cell share its numbers.
        for dim, edge in ((3, patch[1]), (4, patch[2])):
            if edge < self.cell:
                maps = maps.repeat_interleave(self.cell // edge, dim)
        return patchify(maps, cells)
