"""Whole branches, of this project or with the decoder of another one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.models.checkpoints.formats import PIXEL_NORM
from bimm_mm.models.checkpoints.load import (
    load_converted,
    load_fully,
    subtree,
)
from bimm_mm.models.decoders.transformer import TransformerDecoder
from bimm_mm.models.pretrainers.area import Area
from bimm_mm.models.pretrainers.masked_branch import MaskedBranch
from bimm_mm.targets.pixel import PixelTarget

_AREAS = 'head.areas.'


def load_model(
    model: nn.Module, state: Mapping[str, Tensor], *, source: str
) -> None:
    """Fill a whole model from a checkpoint of it.

    A :class:`MaskedBranch` of one area that predicts pixels, as MAE and
    VideoMAE do, is filled from a checkpoint of theirs, too.

    Raises:
        ValueError: It does not fit, see :func:`load_fully`, or there is no
            such area.
    """
    if not isinstance(model, MaskedBranch) or is_own(state):
        load_fully(model, state, source=source)
        return
    areas = list(model.areas.values())
    try:
        if len(areas) > 1:
            raise ValueError(f'the config has {len(areas)} areas')
        area = pixel_area(areas, model.backbone)
    except ValueError as error:
        raise ValueError(
            f'{source} is of another project, and one of those goes on in a '
            f'branch with one area only: {error}. To start from its encoder '
            'alone, give it as model.backbone.init_cfg.checkpoint'
        ) from None
    load_branch(model.backbone, area, state, source=source)


def load_branch(
    encoder: BIMMVisionTransformer,
    area: Area,
    state: Mapping[str, Tensor],
    *,
    source: str,
    prefix: str = '',
) -> None:
    """Fill the encoder and one decoder of a branch.

    Of this project's checkpoints, ``prefix`` precedes the branch's keys.

    Raises:
        ValueError: One of the two is not there or does not fit.
    """
    if not is_own(state):
        load_converted(encoder, state, source=source, decoder=area.decoder)
        return
    start = f'{prefix}{_AREAS}{area.name}.decoder.'
    load_converted(encoder, state, source=source, prefix=f'{prefix}backbone.')
    load_fully(
        area.decoder, subtree(state, start), source=source, what='decoder'
    )


def is_own(state: Mapping[str, Tensor]) -> bool:
    """Whether weights are of a pretraining of this project."""
    return any(_AREAS in key for key in state)


def pixel_area(areas: list[Area], encoder: BIMMVisionTransformer) -> Area:
    """The one area whose decoder other projects have, too.

    Raises:
        ValueError: It is none, or several are.
    """
    norm = PIXEL_NORM[encoder.video]
    fit = [
        area
        for area in areas
        if area.after_block == encoder.depth
        and type(area.decoder) is TransformerDecoder
        and isinstance(area.target, PixelTarget)
        and (area.target.norm, area.target.every) == (norm, 1)
    ]
    if len(fit) != 1:
        names = ', '.join(area.name for area in areas)
        raise ValueError(
            'it needs one TransformerDecoder after the last block that '
            f'predicts PixelTarget(norm={norm!r}) of all frames, and '
            f'{len(fit)} of the areas ({names or "none"}) have that'
        )
    return fit[0]
