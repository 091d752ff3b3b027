"""Visual areas: where the encoder is tapped, what is decoded and predicted.

Shapes: B batch, N tokens of the whole grid, Ns tokens that are scored (the
hidden ones, unless a decoder predicts the visible ones), D encoder width, P
numbers per token, Q numbers predicted per token (P, unless the target is a
class such as a code).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from mmengine.model import BaseModule, ModuleDict
from torch import Tensor, nn

from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.models.masking import TokenIndices
from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch


@dataclass
class AreaOutput:
    """What an area predicted and what it should have.

    Args:
        area (Area): The area itself.
        prediction (Tensor): (B, Ns, Q), normalized as the target.
        target (Tensor): (B, N, P), all tokens, normalized, fp32.
        scored (Tensor): (B, Ns), int64: the tokens that count.
        indices (TokenIndices): Visible and hidden tokens.
        patch (tuple[int, int, int]): Tubelet length, patch height and width.
        clips (ClipBatch): What was shown.
    """

    area: Area
    prediction: Tensor
    target: Tensor
    scored: Tensor
    indices: TokenIndices
    patch: tuple[int, int, int]
    clips: ClipBatch

    @property
    def scored_target(self) -> Tensor:
        """(B, Ns, P): the target at the scored tokens."""
        index = self.scored.unsqueeze(2).expand(-1, -1, self.target.shape[2])
        return self.target.gather(1, index)

    def loss(self) -> Tensor:
        """What the target makes of it, a scalar in fp32 (eq. 2 and 3)."""
        return self.area.target.loss(self.prediction, self.scored_target)

    def figures(self) -> dict[str, Tensor]:
        """What the target wants to be logged besides, by name."""
        return self.area.target.figures(self.prediction, self.scored_target)


class Area(BaseModule):
    """A tap of the encoder with its decoder and its target.

    Features of an inner block are an un-normalized residual stream, so they
    get a LayerNorm of their own; those of the last block carry the encoder's
    final norm already, or the regressor's.

    Args:
        name (str): Such as ``'V1'``; names the loss in the log.
        after_block (int): Number of blocks before the tap, 1 to the depth.
        decoder (dict): Config of the decoder.
        target (dict): Config of the target.
        backbone (BIMMVisionTransformer): The encoder to tap.
        weight (float): Weight of the area's loss. Defaults to 1.

    Raises:
        ValueError: If ``after_block`` is beyond the encoder's depth.
    """

    def __init__(
        self,
        name: str,
        *,
        after_block: int,
        decoder: dict,
        target: dict,
        backbone: BIMMVisionTransformer,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        if not 1 <= after_block <= backbone.depth:
            raise ValueError(
                f'area {name!r}: after_block={after_block} does not exist in '
                f'an encoder of {backbone.depth} blocks; choose 1 to '
                f'{backbone.depth}'
            )
        self.name = name
        self.after_block = after_block
        self.weight = weight
        self.patch = backbone.patch
        self.target = MODELS.build(target)
        self.norm = (
            nn.Identity()
            if after_block == backbone.depth
            else nn.LayerNorm(backbone.embed_dims, eps=1e-6)
        )
        self.decoder = MODELS.build(
            dict(
                decoder,
                in_dims=backbone.embed_dims,
                out_dims=self.target.dim(backbone.patch),
                video=backbone.video,
            )
        )

    def forward(
        self,
        features: Tensor,
        indices: TokenIndices,
        grid: tuple[int, int, int],
        clips: ClipBatch,
    ) -> AreaOutput:
        """Decode the features and work out the target.

        The features are (B, C + Nv, D), of visible tokens, or (B, Nh, D), a
        regressor's latents of hidden ones.
        """
        prediction = self.decoder(self.norm(features), indices, grid)
        return AreaOutput(
            area=self,
            prediction=prediction,
            target=self.target(clips, self.patch),
            scored=self.decoder.scored(indices),
            indices=indices,
            patch=self.patch,
            clips=clips,
        )


class MultiDecoderHead(BaseModule):
    """A list of areas on one encoder (Sec. 3.1, "Decoders").

    Args:
        areas (list[dict]): One config per :class:`Area`, without
            ``backbone``.
        backbone (BIMMVisionTransformer): The encoder to tap. It is asked for
            its width, depth and patch, and is not kept.

    Raises:
        ValueError: If there is no area, one has no name, or two share one.
    """

    def __init__(
        self, areas: list[dict], *, backbone: BIMMVisionTransformer
    ) -> None:
        super().__init__()
        _check_names([area.get('name') for area in areas])
        self.areas = ModuleDict(
            {area['name']: Area(**area, backbone=backbone) for area in areas}
        )

    @property
    def taps(self) -> list[int]:
        """The encoder's blocks that are tapped, ascending."""
        return sorted({area.after_block for area in self.areas.values()})

    def forward(
        self,
        features: dict[int, Tensor],
        indices: TokenIndices,
        grid: tuple[int, int, int],
        clips: ClipBatch,
    ) -> dict[str, AreaOutput]:
        """Run every area.

        Args:
            features (dict[int, Tensor]): By tapped block, (B, C + Nv, D), or
                (B, Nh, D) where a regressor follows the block.
            indices (TokenIndices): Visible and hidden tokens.
            grid (tuple[int, int, int]): Tokens over time, height and width.
            clips (ClipBatch): What the targets are made from.

        Returns:
            dict[str, AreaOutput]: By area name.
        """
        return {
            name: area(features[area.after_block], indices, grid, clips)
            for name, area in self.areas.items()
        }

    def loss(self, outputs: dict[str, AreaOutput]) -> dict[str, Tensor]:
        """Weighted loss per area (eq. 2 and 3).

        Args:
            outputs (dict[str, AreaOutput]): From :meth:`forward`.

        Returns:
            dict[str, Tensor]: Scalars by area name.
        """
        return {
            name: self.areas[name].weight * output.loss()
            for name, output in outputs.items()
        }

    @staticmethod
    def figures(outputs: dict[str, AreaOutput]) -> dict[str, Tensor]:
        """What the areas' targets want to be logged besides their losses.

        Args:
            outputs (dict[str, AreaOutput]): From :meth:`forward`.

        Returns:
            dict[str, Tensor]: Scalars by ``<area>/<figure>``.
        """
        return {
            f'{name}/{figure}': value
            for name, output in outputs.items()
            for figure, value in output.figures().items()
        }


def _check_names(names: list[str | None]) -> None:
    """Refuse areas that cannot be told apart in the log."""
    if not names:
        raise ValueError('areas is empty: give at least one area to predict')
    if None in names:
        raise ValueError(
            f'area {names.index(None)} (from 0) has no name: give it one, '
            "such as name='V1'; it names the loss in the log"
        )
    doubles = [name for name, count in Counter(names).items() if count > 1]
    if doubles:
        raise ValueError(
            f'two areas are called {doubles[0]!r}: give each its own name'
        )
