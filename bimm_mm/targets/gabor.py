"""Gabor features as target: area V1.

Shapes: B clips, T frames, H x W pixels; S wavelengths x O orientations = C
filters. In the bank: N = B * T frames, F = O // 2 + 1 frequency pairs; cells
of ``cell`` x ``cell`` pixels; h filter positions along y, n along x within
one of K vertical strips.

The bank is written as matrix products. With a circular envelope g a Gabor
filter is separable: for the frequency f and the orientation o in [0, pi / 2],

    even = g cos(f cos(o) x) * g cos(f sin(o) y)
         - g sin(f cos(o) x) * g sin(f sin(o) y)  - dc g(x) * g(y)
    odd  = g cos(f cos(o) x) * g sin(f sin(o) y)
         + g sin(f cos(o) x) * g cos(f sin(o) y)

and pi - o needs the same products with the second terms' signs flipped. The
filters along x of all pairs are one matrix, those along y one per pair, with
stride and reflection at the border inside. On a GPU these products are of
half precision, which changes the default target of photographs by a squared
error of 0.0001, where its variance is 1; TF32 would do the same in twice the
bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch, token_grid
from bimm_mm.targets.base import CellTarget, fp32_no_grad, luma, moments
from bimm_mm.utils.device import constant_when_compiled

WAVELENGTHS = (4.0, 4 * 2**0.5, 8.0, 8 * 2**0.5)
# Deviation of a token's values below which it counts as flat; a textured one
# has about 0.1.
FLAT = 0.01
STRIP = 64  # widest strip in pixels: wider wastes products, narrower copies


@MODELS.register_module()
class GaborTarget(CellTarget):
    """Gabor magnitudes, pooled over cells (paper, section 3.2, V1).

    The paper gives no bank; this one tiles 8 orientations and two octaves
    without holes. Brightness is filtered with pairs of even and odd Gabor
    filters (sigma = 0.56 wavelength, circular, zero mean, unit energy, cut at
    3 sigma, picture reflected at its border). The magnitudes are averaged
    over cells of 8 x 8 pixels, each cell is divided by its length over all 32
    filters, and frames of a tubelet are averaged. Values of a token run over
    cell row, cell column, wavelength and, fastest, orientation: 2 x 2 x 4 x 8
    = 128 for 16 x 16 pixels. Orientation k is that of the wave vector, k pi /
    O from the x axis towards the (downward) y axis.

    Args:
        norm: ``'patch'`` standardizes each token, so that predicting the mean
            costs 1 (flat tokens stay flat). None leaves the pooled magnitudes,
            in [0, 1].
        orientations: How many, evenly over pi.
        wavelengths: In pixels. Defaults to 4 pixels and three half octaves
            above.
        cell: Edge of a cell in pixels.
        sigma_ratio: Deviation of the envelope over the wavelength; 0.56 is a
            bandwidth of one octave.
        stride: Distance of the filters' positions in pixels; divides
            ``cell``. They sit in the middle of their stride x stride pixels,
            which keeps the mean over a cell close to that of stride 1: on
            photographs the squared error of the default target is 0.0025 for
            stride 4 and 0.0001 for stride 2, where its variance is 1.
        eps: Added to the length of a cell.
    """

    norms = {'patch': 'true mean and deviation of every patch'}
    # Kinds of devices whose matrix products are of half precision.
    half_on = ('cuda',)

    def __init__(
        self,
        norm: str | None = 'patch',
        *,
        orientations: int = 8,
        wavelengths: Sequence[float] = WAVELENGTHS,
        cell: int = 8,
        sigma_ratio: float = 0.56,
        stride: int = 4,
        eps: float = 1e-3,
    ) -> None:
        super().__init__(norm, cell=cell)
        self.bank = Bank(
            orientations, tuple(wavelengths), stride, cell, sigma_ratio, eps
        )
        self.bank.check()
        self.channels = orientations * len(wavelengths)

    @fp32_no_grad
    def maps(self, clips: ClipBatch) -> Tensor:
        """Compute pooled magnitudes (B, S * O, T, H / cell, W / cell).

        Raises:
            ValueError: If the cell does not divide height and width.
        """
        token_grid(clips.size, (1, self.cell, self.cell))
        half = clips.pixels.device.type in self.half_on
        dtype = torch.float16 if half else torch.float32
        return clips.maps(
            ('gabor', self.bank), lambda: gabor(luma(clips), self.bank, dtype)
        )

    def statistics(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Target.statistics`; values (B, N, cells, S * O)."""
        mean, var = moments(values, (2, 3))
        return mean, var.sqrt().clamp_min(FLAT)

    def to_rgb(self, maps: Tensor) -> Tensor:
        """Show the strongest orientation as hue, its magnitude as value."""
        size = (len(self.bank.wavelengths), self.bank.orientations)
        waves = maps.unflatten(1, size).clamp_min(0)
        energy, orientation = waves.square().sum(1).max(1, keepdim=True)
        return self._color(orientation) * energy.sqrt()

    def legend(self) -> dict[float, list[float]]:
        """See :meth:`Target.legend`; edges are upright to wave vectors."""
        order = torch.arange(self.bank.orientations).view(-1, 1, 1, 1, 1)
        colors = self._color(order).flatten(1).tolist()
        return {-180 * k / len(colors): c for k, c in enumerate(colors)}

    def _color(self, orientation: Tensor) -> Tensor:
        """R, G, B (B, 3, T, h, w) of orientations (B, 1, T, h, w)."""
        # Hue in [0, 6): each color is a trapezoid around its own hue.
        hue = orientation * (6 / self.bank.orientations)
        shift = torch.tensor([0, 4, 2], device=orientation.device)
        wheel = (hue + shift.view(1, 3, 1, 1, 1)) % 6
        return (wheel - 3).abs().sub(1).clamp(0, 1)


class Bank(NamedTuple):
    """Numbers that define Gabor maps; see :class:`GaborTarget`."""

    orientations: int
    wavelengths: tuple[float, ...]
    stride: int
    cell: int
    sigma_ratio: float
    eps: float

    def check(self) -> None:
        """Raise a ValueError that names the first number out of range."""
        if not self.wavelengths or min(self.wavelengths) <= 2:
            raise ValueError(
                f'wavelengths={list(self.wavelengths)} must be one or more, '
                'each above 2 pixels'
            )
        if self.stride < 1 or self.cell % self.stride:
            raise ValueError(
                f'stride={self.stride} must divide cell={self.cell}'
            )
        if self.sigma_ratio <= 0:
            raise ValueError(f'sigma_ratio={self.sigma_ratio} must be > 0')


class Matrices(NamedTuple):
    """Filters of one wavelength, for one picture size."""

    columns: Tensor  # (taps * K,), which columns of the picture
    along_x: Tensor  # ((2F + 1) * n, taps): cos and sin of each pair, g
    along_y: Tensor  # (F, H, 2h): cos and sin of each pair
    envelope: Tensor  # (H, h): g
    dc: Tensor  # (F, 1, 1), negative
    odd: Tensor  # (F, 1, 1), what odd filters lack to the length of even ones
    pool: Tensor  # (h, cells along y): mean over a cell
    order: Tensor  # (O,), where each orientation is among 2 x F


def gabor(
    picture: Tensor, bank: Bank, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Filter pictures, average over cells, divide cells by their length.

    Brightness (B, 1, T, H, W), fp32, of which the cell divides H and W, gives
    (B, S * O, T, H / cell, W / cell), fp32, wavelength-major. ``dtype`` is
    that of the matrix products.
    """
    batch, _, frames, height, width = picture.shape
    # Filters do not see a frame's mean, of which only rounding would stay.
    picture = picture - picture.mean((3, 4), keepdim=True)
    columns = picture.reshape(-1, width).to(dtype).T.contiguous()  # (W, N * H)
    banks = _matrices(bank, height, width, picture.device, dtype)
    maps = torch.stack([_cells(columns, matrices) for matrices in banks])
    # (S, 2F, cells of a strip, K * N, cells along y) to O in the place of 2F
    maps = maps.index_select(1, banks[0].order).float()
    # Strips side by side: (N, S, O, cells y, K, cells of a strip), of which
    # the last strip may reach beyond the border.
    maps = maps.unflatten(3, (-1, batch * frames)).permute(4, 0, 1, 5, 3, 2)
    maps = maps.flatten(4).flatten(1, 2)[..., : width // bank.cell]
    length = torch.linalg.vector_norm(maps, dim=1, keepdim=True)
    maps = maps / (length + bank.eps)  # (N, S * O, cells y, cells x)
    return maps.unflatten(0, (batch, frames)).transpose(1, 2)


def _cells(columns: Tensor, m: Matrices) -> Tensor:
    """Mean magnitude per cell, (2F, strip's cells, K * N, cells along y)."""
    pairs, height, _ = m.along_y.shape
    strips = columns.index_select(0, m.columns)
    strips = strips.view(m.along_x.shape[1], -1)  # (taps, K * N * H)
    # Along x: cos and sin of every pair, then the envelope alone.
    rows = (m.along_x @ strips).view(2 * pairs + 1, -1, height)
    # Along y, each pair with its own filters: (F, 2, n * K * N, 2, h).
    waves = rows[:-1].view(pairs, -1, height) @ m.along_y
    waves = waves.view(pairs, 2, rows.shape[1], 2, -1)
    cos_cos, cos_sin = waves[:, 0].unbind(2)  # (F, n * K * N, h)
    sin_cos, sin_sin = waves[:, 1].unbind(2)
    cos_cos = torch.addcmul(cos_cos, m.dc, rows[-1] @ m.envelope)
    # The formulas of the module: orientation o, and pi - o.
    near = _length(cos_cos - sin_sin, cos_sin + sin_cos, m)
    mirrored = _length(cos_cos + sin_sin, cos_sin - sin_cos, m)
    cells = torch.cat([near @ m.pool, mirrored @ m.pool])
    # Along y the product with ``pool`` took the mean; along x it is left:
    # n positions are cells of ``per_cell`` positions.
    per_cell = m.pool.shape[0] // m.pool.shape[1]
    outputs = m.along_x.shape[0] // (2 * pairs + 1)
    cells = cells.unflatten(1, (outputs // per_cell, per_cell, -1))
    return cells.mean(2)


def _length(even: Tensor, odd: Tensor, m: Matrices) -> Tensor:
    """Quadrature magnitude of both filters; overwrites the odd one."""
    return torch.hypot(even, odd.mul_(m.odd))


@constant_when_compiled
@lru_cache(maxsize=32)
def _matrices(
    bank: Bank,
    height: int,
    width: int,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Matrices, ...]:
    """Build the matrices of every wavelength, once per size and device."""
    # Built first while validating, they must still serve in training.
    with torch.inference_mode(False):
        return tuple(
            Matrices(
                *(
                    x.to(device, dtype if x.is_floating_point() else x.dtype)
                    for x in _build(bank, scale, height, width)
                )
            )
            for scale in range(len(bank.wavelengths))
        )


def _build(bank: Bank, scale: int, height: int, width: int) -> Matrices:
    """Build the matrices of one wavelength, in fp64 up to the last step."""
    stride = bank.stride
    offsets, g, along_x, along_y = filters(bank, scale)
    dc = along_x[:, 0].sum(1) * along_y[:, 0].sum(1) / g.sum() ** 2
    even, odd = _energies(g, along_x, along_y, dc)
    gain = even.rsqrt()  # goes into the filters along x and into dc
    along_x = torch.cat(
        [(along_x * gain.view(-1, 1, 1)).flatten(0, 1), g[None]]
    )
    columns, along_x = _strips(bank, along_x, stride, offsets, width)
    rows = _positions(height, stride, offsets)
    # (F * 2, h, H) to (F, H, 2h), to be multiplied from the right.
    along_y = _place(along_y.flatten(0, 1), _reflect(rows, height), height)
    along_y = along_y.unflatten(0, (-1, 2)).flatten(1, 2).mT
    envelope = _place(g[None], _reflect(rows, height), height)[0].mT
    # Orientation k is that of pair k, or of the mirrored pair O - k.
    k, pairs = torch.arange(bank.orientations), len(dc)
    order = torch.where(k < pairs, k, pairs + bank.orientations - k)
    pool = torch.eye(height // bank.cell) * (stride / bank.cell)
    return Matrices(
        columns=columns.flatten(),
        along_x=along_x.flatten(0, 1).float(),
        along_y=along_y.float().contiguous(),
        envelope=envelope.float().contiguous(),
        dc=-(dc * gain).view(-1, 1, 1).float(),
        odd=(even / odd).sqrt().view(-1, 1, 1).float(),
        pool=pool.repeat_interleave(bank.cell // stride, 0),
        order=order,
    )


def filters(bank: Bank, scale: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tap positions (L,), envelope (L,), cos and sin along x, y (F, 2, L).

    A position sits in the middle of its stride x stride pixels: for an even
    stride that is between two pixels.
    """
    sigma = bank.sigma_ratio * bank.wavelengths[scale]
    half = math.ceil(3 * sigma)
    offsets = torch.arange(-half, half + 1, dtype=torch.float64)
    if bank.stride % 2 == 0:
        offsets = offsets[:-1] + 0.5
    g = torch.exp(-offsets.square() / (2 * sigma**2))
    count = bank.orientations // 2 + 1
    angle = torch.arange(count, dtype=torch.float64) * math.pi
    angle = angle / bank.orientations
    phase = 2 * math.pi / bank.wavelengths[scale] * offsets

    def carrier(frequency: Tensor) -> Tensor:
        wave = frequency[:, None] * phase
        return torch.stack([wave.cos(), wave.sin()], 1) * g

    return offsets, g, carrier(angle.cos()), carrier(angle.sin())


def _energies(
    g: Tensor, along_x: Tensor, along_y: Tensor, dc: Tensor
) -> tuple[Tensor, Tensor]:
    """Squared L2 norms (F,) of the even and the odd filters in 2-D."""

    def outer(x: Tensor, y: Tensor) -> Tensor:
        return y[:, :, None] * x[:, None, :]

    (cos_x, sin_x), (cos_y, sin_y) = along_x.unbind(1), along_y.unbind(1)
    even = outer(cos_x, cos_y) - outer(sin_x, sin_y)
    even = even - dc[:, None, None] * torch.outer(g, g)
    odd = outer(cos_x, sin_y) + outer(sin_x, cos_y)
    return even.square().sum((1, 2)), odd.square().sum((1, 2))


def _strips(
    bank: Bank, taps: Tensor, stride: int, offsets: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """Filters along x for a strip, and the columns that the strips need.

    Columns are (width of a strip with its margins, K), filters (2F + 1, n,
    that width). Strips may reach beyond the right border; the caller cuts
    that off.
    """
    count = math.ceil(width / STRIP)
    strip = math.ceil(width / bank.cell / count) * bank.cell
    index = _positions(strip, stride, offsets)
    first = index[0, 0]  # they ascend
    size = strip - stride + len(offsets)
    columns = torch.arange(size)[:, None] + torch.arange(count) * strip + first
    return _reflect(columns, width), _place(taps, index - first, size)


def _positions(size: int, stride: int, offsets: Tensor) -> Tensor:
    """Which pixels the taps of each filter meet, (size / stride, L)."""
    middle = torch.arange(size // stride)[:, None] * stride + (stride - 1) / 2
    return (middle + offsets).round().long()


def _place(taps: Tensor, index: Tensor, size: int) -> Tensor:
    """Filters (R, L) at positions (n, L) as matrices (R, n, size)."""
    shape = (len(taps), *index.shape)
    matrices = taps.new_zeros(len(taps), len(index), size)
    return matrices.scatter_add_(
        2, index.expand(shape), taps[:, None].expand(shape)
    )


def _reflect(index: Tensor, size: int) -> Tensor:
    """Fold positions into [0, size), not repeating the border."""
    period = max(2 * (size - 1), 1)
    index = index.remainder(period)
    return torch.minimum(index, period - index)
