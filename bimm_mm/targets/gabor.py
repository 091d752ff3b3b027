"""Gabor features as target: area V1.

B clips, T frames, H x W pixels; S wavelengths x O orientations = C filters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch
from bimm_mm.targets.base import Target, exact, luma, moments
from bimm_mm.targets.gabor_bank import Bank, gabor
from bimm_mm.targets.tokens import Size, patchify, token_grid

WAVELENGTHS = (4.0, 4 * 2**0.5, 8.0, 8 * 2**0.5)
# Deviation of a token's values below which it counts as flat; a textured one
# has about 0.1.
FLAT = 0.01


@MODELS.register_module()
class GaborTarget(Target):
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
        norm (str, optional): ``'patch'`` standardizes each token, so that
            predicting the mean costs 1 (flat tokens stay flat). None leaves
            the pooled magnitudes, in [0, 1]. Defaults to ``'patch'``.
        orientations (int): How many, evenly over pi. Defaults to 8.
        wavelengths (Sequence[float]): In pixels. Defaults to 4 pixels and
            three half octaves above.
        cell (int): Edge of a cell in pixels. Defaults to 8.
        sigma_ratio (float): Deviation of the envelope over the wavelength;
            0.56 is a bandwidth of one octave. Defaults to 0.56.
        stride (int | Sequence[int]): Distance of the filters' positions in
            pixels, for all wavelengths or for each; divides ``cell``. They
            sit in the middle of their stride x stride pixels, which keeps the
            mean over a cell close to that of stride 1: on photographs the
            squared error of the default target is 0.0025 for stride 4 and
            0.0001 for stride 2, where its variance is 1. Defaults to 4.
        eps (float): Added to the length of a cell. Defaults to 1e-3.

    Raises:
        ValueError: If an option is out of range.
    """

    norms = {'patch': 'true mean and deviation of every patch'}

    def __init__(
        self,
        norm: str | None = 'patch',
        *,
        orientations: int = 8,
        wavelengths: Sequence[float] = WAVELENGTHS,
        cell: int = 8,
        sigma_ratio: float = 0.56,
        stride: int | Sequence[int] = 4,
        eps: float = 1e-3,
    ) -> None:
        super().__init__(norm)
        waves = tuple(wavelengths)
        one = isinstance(stride, int)
        self.bank = Bank(
            orientations=orientations,
            wavelengths=waves,
            strides=(stride,) * len(waves) if one else tuple(stride),
            cell=cell,
            sigma_ratio=sigma_ratio,
            eps=eps,
        )
        self.bank.check()
        self.channels = orientations * len(waves)

    def cells(self, patch: Size) -> Size:
        """A token in cells; frames of a tubelet become one.

        Raises:
            ValueError: If the cell does not divide the patch.
        """
        cell = self.bank.cell
        if patch[1] % cell or patch[2] % cell:
            raise ValueError(
                f'GaborTarget: cell={cell} does not divide the patch '
                f'{tuple(patch)}: choose a cell that does'
            )
        return 1, patch[1] // cell, patch[2] // cell

    @exact
    def maps(self, clips: ClipBatch) -> Tensor:
        """Pooled magnitudes (B, S * O, T, H / cell, W / cell).

        Raises:
            ValueError: If the cell does not divide height and width.
        """
        cell = self.bank.cell
        token_grid(clips.size, (1, cell, cell))
        return clips.maps(
            ('gabor', self.bank), lambda: gabor(luma(clips), self.bank)
        )

    @exact
    def raw(self, clips: ClipBatch, patch: Size) -> Tensor:
        """Tokens before normalization; see :meth:`Target.raw`."""
        cells = self.cells(patch)
        token_grid(clips.size, patch)
        maps = self.maps(clips).unflatten(2, (-1, patch[0])).mean(3)
        return patchify(maps, cells)

    def statistics(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Target.statistics`; values (B, N, cells, S * O)."""
        mean, var = moments(values, (2, 3))
        return mean, var.sqrt().clamp_min(FLAT)

    def color(self, maps: Tensor) -> Tensor:
        """Hue: the strongest orientation; brightness: its magnitude."""
        size = (len(self.bank.wavelengths), self.bank.orientations)
        waves = maps.unflatten(1, size).clamp_min(0)
        energy, orientation = waves.square().sum(1).max(1, keepdim=True)
        hue = orientation * (6 / self.bank.orientations)
        shift = torch.tensor([0, 4, 2], device=maps.device)
        wheel = (hue + shift.view(1, 3, 1, 1, 1)) % 6
        return (wheel - 3).abs().sub(1).clamp(0, 1) * energy.sqrt()
