"""Whole models, of this project or with decoder or head of another one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.models.checkpoints.convert import PATCH
from bimm_mm.models.checkpoints.formats import FORMATS, PIXEL_NORM
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
# What a finetuned model classifies, by its last norm.
_READ: dict[tuple[str, ...], str] = {
    ('norm',): 'cls_token',
    ('fc_norm',): 'avg',
}


def load_model(
    model: nn.Module, state: Mapping[str, Tensor], *, source: str
) -> None:
    """Fill a whole model from a checkpoint of it, or of another project.

    Of others, a :class:`MaskedBranch` of one area that predicts pixels, as
    MAE and VideoMAE do, is filled with their decoder, and a classifier of
    mmaction2 or mmpretrain with their finetuned one; its classes keep their
    order.

    Raises:
        ValueError: It does not fit, see :func:`load_fully`, or there is no
            such area.
    """
    if isinstance(model, MaskedBranch) and not is_own(state):
        _load_others_branch(model, state, source)
    elif not _load_others_classifier(model, state, source):
        load_fully(model, state, source=source)


def _load_others_branch(
    model: MaskedBranch, state: Mapping[str, Tensor], source: str
) -> None:
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


def _load_others_classifier(
    model: nn.Module, state: Mapping[str, Tensor], source: str
) -> bool:
    """Fill encoder and last layer, where the file has both by other names."""
    encoder = getattr(model, 'backbone', None)
    head = getattr(model, 'cls_head', getattr(model, 'head', None))
    if f'backbone.{PATCH}' in state or not (
        isinstance(encoder, BIMMVisionTransformer)
        and isinstance(head, nn.Module)
    ):
        return False
    rest = dict(state)
    found = take_classifier(rest, encoder.embed_dims)
    linear = [x for x in head.modules() if isinstance(x, nn.Linear)]
    if not found or len(linear) != 1:
        return False
    converted = load_converted(encoder, rest, source=source)
    wanted = _READ.get(converted.norms)
    if encoder.out_type != wanted:
        remedy = 'use its encoder alone, as model.backbone.init_cfg.checkpoint'
        raise ValueError(
            f'{source} was finetuned with {" and ".join(converted.norms)} '
            f'last, which model.backbone.out_type={encoder.out_type!r} is not '
            f'for: {f"set it to {wanted!r}" if wanted else remedy}'
        )
    load_fully(linear[0], found, source=source, what='the last layer')
    return True


def take_classifier(state: dict[str, Tensor], width: int) -> dict[str, Tensor]:
    """Take a linear classifier on features of a width out of weights.

    Returns:
        ``weight`` and ``bias``; nothing if there is none.
    """
    for name in {form.head for form in FORMATS.values()}:
        weight = state.get(f'{name}.weight')
        if weight is not None and weight.shape[1:] == (width,):
            found = subtree(state, f'{name}.')
            for key in found:
                del state[f'{name}.{key}']
            return found
    return {}


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
