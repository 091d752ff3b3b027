"""Visual areas: where the encoder is read, what is decoded and predicted.

Shapes: B batch, N tokens of the whole grid, Nv visible and Nh hidden tokens,
C class tokens (0 or 1), Ns tokens that are scored (the hidden ones, unless a
decoder predicts the visible ones); D width of the encoder; P numbers per
token, Q numbers predicted per token (P, unless the target is a class such as
a code).
"""

from __future__ import annotations

from collections import Counter

from mmengine.model import BaseModule, ModuleDict
from torch import Tensor, nn

from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.models.layers.transformer import take_tokens
from bimm_mm.registry import MODELS
from bimm_mm.structures import AreaOutput, ClipBatch, Size, TokenIndices


@MODELS.register_module()
class Area(BaseModule):
    """A place where the encoder is read, with a decoder and a target.

    Features of an inner block are a residual stream without norm, so they
    get a LayerNorm of their own. Those of the last block carry the encoder's
    final norm already, or the regressor's.

    Args:
        name: Such as ``'V1'``; names the loss in the log.
        after_block: Number of blocks before the area, 1 to the depth.
        decoder: Config of the decoder.
        target: Config of the target.
        backbone: The encoder. It is asked for its width, depth and patch, and
            is not kept.
        weight: Weight of the area's loss.
        inner_norm: Whether features of an inner block get that LayerNorm;
            DeepMIM's code has none.
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
        inner_norm: bool = True,
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
        # With the encoder's final norm, a second one would be idle.
        self.norm = (
            nn.Identity()
            if after_block == backbone.depth or not inner_norm
            else nn.LayerNorm(backbone.embed_dims, eps=1e-6)
        )
        # A config never repeats what encoder and target know.
        self.decoder = MODELS.build(
            dict(
                decoder,
                in_channels=backbone.embed_dims,
                out_channels=self.target.out_channels(backbone.patch),
                video=backbone.video,
            )
        )

    def forward(
        self,
        features: Tensor,
        indices: TokenIndices,
        grid: Size,
        clips: ClipBatch,
    ) -> AreaOutput:
        """Decode the features and compute the target.

        Args:
            features: (B, C + Nv, D), of visible tokens, or (B, Nh, D), a
                regressor's latents of hidden ones.
            indices: Visible and hidden tokens.
            grid: Tokens along time, height and width.
            clips: What the target is made from.
        """
        prediction = self.decoder(self.norm(features), indices, grid)
        # Targets are made for the whole grid, since they need whole frames,
        # and only the scored tokens are kept.
        scored = self.decoder.scored(indices)
        target = self.target(clips, self.patch)  # (B, N, P)
        return AreaOutput(
            area=self.name,
            prediction=prediction,
            target=take_tokens(target, scored),
            scored=scored,
            indices=indices,
            patch=self.patch,
            clips=clips,
        )

    def loss(self, output: AreaOutput) -> Tensor:
        """Score a prediction (eq. 2 and 3), a scalar in fp32."""
        return self.target.loss(output.prediction, output.target)

    def metrics(self, output: AreaOutput) -> dict[str, Tensor]:
        """Compute what the target logs besides its loss, by name."""
        return self.target.metrics(output.prediction, output.target)


@MODELS.register_module()
class MultiDecoderHead(BaseModule):
    """A list of areas on one encoder (Sec. 3.1, "Decoders").

    Args:
        areas: One config per :class:`Area`, at least one, each with its own
            name and without ``backbone``; ``type`` names another class.
        backbone: The encoder, see :class:`Area`.
    """

    def __init__(
        self, areas: list[dict], *, backbone: BIMMVisionTransformer
    ) -> None:
        super().__init__()
        if not areas:
            raise ValueError('areas is empty: give at least one to predict')
        names = Counter(area['name'] for area in areas)
        name, count = names.most_common(1)[0]
        if count > 1:
            raise ValueError(
                f'{count} areas are called {name!r}: give each its own name'
            )
        # A config may name another class by ``type``.
        default = dict(type='bimm_mm.Area', backbone=backbone)
        self.areas = ModuleDict(
            {area['name']: MODELS.build({**default, **area}) for area in areas}
        )

    @property
    def after_blocks(self) -> list[int]:
        """After how many blocks the encoder is read, ascending."""
        return sorted({area.after_block for area in self.areas.values()})

    def forward(
        self,
        features: dict[int, Tensor],
        indices: TokenIndices,
        grid: Size,
        clips: ClipBatch,
    ) -> dict[str, AreaOutput]:
        """Run every area on the features after its block.

        Arguments are those of :meth:`Area.forward`, features by number of
        blocks; outputs come by area name.
        """
        return {
            name: area(features[area.after_block], indices, grid, clips)
            for name, area in self.areas.items()
        }

    def loss(self, outputs: dict[str, AreaOutput]) -> dict[str, Tensor]:
        """Compute weighted losses (eq. 2 and 3), scalars by area name."""
        return {
            name: self.areas[name].weight * self.areas[name].loss(output)
            for name, output in outputs.items()
        }

    def metrics(self, outputs: dict[str, AreaOutput]) -> dict[str, Tensor]:
        """Compute what targets log besides, by ``<area>/<metric>``."""
        return {
            f'{name}/{metric}': value
            for name, output in outputs.items()
            for metric, value in self.areas[name].metrics(output).items()
        }
