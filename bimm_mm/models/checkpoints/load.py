"""Loading weights: strictly, with a report, and by branch.

Every way into a model ends in :func:`load_fully`: of a whole model (test,
``load_from``, ``resume``, visualize) in :mod:`branch`, of an encoder for a
downstream task in :func:`load_pretrained` (``init_cfg``, features, probe), of
stage 1 for the joint stage in :class:`bimm_mm.BIMM`, and ``init_cfg`` of any
other module.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.logging import print_log
from mmengine.model import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner.checkpoint import _load_checkpoint
from torch import Tensor, nn

from bimm_mm.models.checkpoints.convert import PATCH, Converted, to_bimm
from bimm_mm.models.checkpoints.formats import TIMM
from bimm_mm.utils.safe_load import PARTS, read_checkpoint

if TYPE_CHECKING:
    from bimm_mm.models.backbones.vit import BIMMVisionTransformer

# Where the weights lie in checkpoints of MMEngine, of MAE or VideoMAE, alone
# or with DeepSpeed, of their averages, and of SlowFast.
_CONTAINERS = ('state_dict', 'model', 'module', 'model_ema', 'model_state')
# What DDP, torch.compile, FSDP and recomputed blocks put into names.
_WRAPPERS = re.compile(
    r'(^|(?<=\.))(module|_orig_mod|_fsdp_wrapped_module'
    r'|_checkpoint_wrapped_module)\.'
)
_BRANCHES = {True: 'dorsal', False: 'ventral'}
_KINDS = {True: 'a video encoder', False: 'an image encoder'}


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint file, tensors only, onto the CPU."""
    return find_weights(read_content(path), source=str(path))


def read_content(path: str | Path, map_location: Any = 'cpu') -> Any:
    """Read all that a file holds, or what is at an address with ``://``."""
    if '://' in str(path):
        return _load_checkpoint(str(path), map_location)
    return read_checkpoint(path, map_location)


def find_weights(content: Any, *, source: str) -> dict[str, Tensor]:
    """The weights in what a checkpoint file holds, by plain names.

    What DDP (``module.``), torch.compile (``_orig_mod.``) and FSDP put into
    names is taken off. If there are none, a ValueError names ``source``.
    """
    state = content
    if isinstance(content, Mapping):
        inside = [content[key] for key in _CONTAINERS if key in content]
        state = [*inside, content][0]
    if not isinstance(state, Mapping) or not (
        state
        and all(isinstance(value, Tensor) for value in state.values())
        and all(isinstance(key, str) for key in state)
    ):
        keys = list(content)[:5] if isinstance(content, Mapping) else 'none'
        raise ValueError(
            f'{source} holds no state dict of tensors under '
            f'{", ".join(map(repr, _CONTAINERS))} or at its top, whose keys '
            f'are {keys}'
        )
    if unusual := [key for key, value in state.items() if _unusual(value)]:
        raise ValueError(
            f'{source} cannot be loaded: {len(unusual)} of {len(state)} '
            'tensors are quantized, sparse or without values, such as '
            f'{unusual[0]}: use the file that this one was made from'
        )
    if any(hasattr(value, 'device_mesh') for value in state.values()):
        raise ValueError(f'{source} cannot be loaded: {PARTS}')
    found = {_WRAPPERS.sub('', key): value for key, value in state.items()}
    if len(found) < len(state):
        raise ValueError(
            f'{source} holds a model with and without "module." or '
            '"_orig_mod." in its names: keep one of the two'
        )
    return found


def name_group(key: str) -> str:
    """The first two names of a key: ``decoder.blocks``, ``ventral.head``."""
    return '.'.join(re.split(r'\.\d', key)[0].split('.')[:2])


def subtree(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries under ``prefix``, without it."""
    return {
        key[len(prefix) :]: value
        for key, value in state.items()
        if key.startswith(prefix)
    }


def load_fully(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str,
    what: str = 'the model',
    missing_ok: tuple[str, ...] = (),
    exact: bool = True,
) -> None:
    """Load weights that must cover a module; log counts and what is left.

    Args:
        module: Filled in place.
        state: Its weights by name.
        source: Names the weights in messages.
        what: Names the module in messages.
        missing_ok: How names begin that may keep their initial weights.
        exact: Whether each of the weights must have a place.

    Raises:
        ValueError: If a weight has another shape, is missing, left over or
            not finite. It says what does work with such a file.
    """
    own = module.state_dict()
    missing, left, reshaped = [], [], []
    try:
        missing, left = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        # The first line only says that something is wrong.
        reshaped = [line.strip('\t .') for line in str(error).splitlines()[1:]]
    fatal = [key for key in missing if not key.startswith(missing_ok)]
    left = left if exact else []
    for names, total, verdict, trouble in (
        (reshaped, own, 'does not fit', 'tensors have another shape'),
        (fatal, own, 'does not cover', 'tensors are missing'),
        (left, state, 'is of another model than', 'tensors have no place'),
    ):
        if names:
            raise ValueError(
                f'{source} {verdict} {what}: {len(names)} of {len(total)} '
                f'{trouble}, such as {names[0]}. Use a checkpoint of the same '
                'arch and options, or change the config to match it'
                + _other_way(own, state)
            )
    broken = [
        key
        for key, value in own.items()  # which have the memory of the module
        if not value.isfinite().all()
        or not _is_alike(state.get(key, value), value)
    ]
    if broken:
        raise ValueError(
            f'{source}: {len(broken)} of {len(own)} tensors of {what} hold '
            f'NaN, infinity or no real numbers, such as {broken[0]}: use an '
            'earlier checkpoint, or one that is not quantized'
        )
    count = len(own) - len(missing)
    report = f'{what}: {count} of {len(own)} tensors from {source}'
    if missing:
        report += f'; keeping initial weights: {", ".join(missing)}'
    print_log(report, 'current', logging.WARNING if missing else logging.INFO)


def _is_alike(given: Tensor, own: Tensor) -> bool:
    """Whether values mean the same; those of 8 bits have scales elsewhere."""
    short = given.is_floating_point() and given.itemsize == 1
    return given.is_floating_point() == own.is_floating_point() and not short


def _unusual(value: Tensor) -> bool:
    """Whether it is anything else than numbers side by side."""
    strided = value.layout == torch.strided
    return not strided or value.is_quantized or value.is_meta


def _other_way(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """What a file can be used for that does not fit a whole model."""
    if any(key.startswith('ventral.') for key in own):
        return (
            '. To start the joint stage from stage 1, give its checkpoint as '
            'model.ventral_checkpoint'
        )
    whole = any(key.startswith('backbone.') for key in own)
    if whole and any('patch_embed' in key for key in state):
        return (
            '. To start from its encoder alone, as finetuning does from a '
            'pretraining, give it as model.backbone.init_cfg.checkpoint'
        )
    return ''


@WEIGHT_INITIALIZERS.register_module(name='Pretrained', force=True)
class StrictPretrainedInit(PretrainedInit):
    """``init_cfg`` of any module: it is filled, or the run ends.

    MMEngine's leaves the tensors that a file lacks at random values. Files
    may hold more than the module, such as another head.
    """

    def __call__(self, module: nn.Module) -> None:
        """Fill a module; MMEngine calls it."""
        state = read_state_dict(self.checkpoint)
        if self.prefix:
            state = subtree(state, self.prefix.rstrip('.') + '.')
        load_fully(module, state, source=self.checkpoint, exact=False)


def load_pretrained(
    backbone: BIMMVisionTransformer,
    checkpoint: str | None,
    prefix: str | None = None,
) -> None:
    """Fill an encoder from a checkpoint, completely, and log what was done.

    Understood are checkpoints of this project, of pretraining and finetuning,
    and those of :func:`to_bimm`.

    Args:
        backbone: Filled in place.
        checkpoint: A file; None leaves the initial weights and says so.
        prefix: What precedes the encoder's keys. If None, of a joint
            checkpoint ``'dorsal.backbone.'`` for a video encoder and
            ``'ventral.backbone.'`` for an image encoder, else found by itself.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has no such encoder, or one of another kind or size,
            or lacks a tensor of it.
    """
    if checkpoint is None:
        print_log(
            'no checkpoint: the encoder is trained from scratch. Name one '
            'with --cfg-options model.backbone.init_cfg.checkpoint=FILE',
            'current',
            logging.WARNING,
        )
        return
    state = read_state_dict(checkpoint)
    branch = f'{_BRANCHES[backbone.video]}.backbone.'
    if prefix is None and branch + PATCH in state:
        prefix = branch
    load_converted(backbone, state, source=checkpoint, prefix=prefix)


def load_converted(
    backbone: BIMMVisionTransformer,
    state: Mapping[str, Tensor],
    *,
    source: str,
    prefix: str | None = None,
    decoder: nn.Module | None = None,
) -> Converted:
    """Fill an encoder, and a decoder, from weights by anybody's names.

    Arguments are those of :func:`load_pretrained` and :func:`load_fully`;
    a ``decoder`` is filled from that beside the encoder.

    Raises:
        ValueError: As of :func:`load_pretrained`; or there is no such decoder.
    """
    try:
        converted = to_bimm(
            state,
            prefix=prefix,
            key_bias=backbone.key_bias,
            learned_positions=backbone.pos_embed is not None,
            decoder=decoder is not None,
        )
    except ValueError as error:
        raise ValueError(f'{source}: {error}') from error
    inner = subtree(converted.state_dict, 'decoder.')
    encoder = {
        key: value
        for key, value in converted.state_dict.items()
        if not key.startswith('decoder.')
    }
    if decoder is not None and not inner:
        raise ValueError(
            f'{source} holds no decoder as MAE or VideoMAE have one: leave '
            'out --decoder, or, to start from its encoder alone, give it as '
            'model.backbone.init_cfg.checkpoint'
        )
    # What timm calls them, too.
    own = converted.scheme == TIMM and any(
        key.endswith(f'backbone.{PATCH}') for key in state
    )
    whose = 'own names' if own else f'names of {converted.scheme}'
    named = f'{source} ({prefix or ""}*, {whose})'
    _check_fits(encoder, backbone, named)
    report = _positions(backbone)
    if (
        backbone.cls_token is None
        and encoder.pop('cls_token', None) is not None
    ):
        report += '; the class token of the checkpoint is not used'
    load_fully(
        backbone,
        encoder,
        source=named,
        what=f'encoder of {backbone.depth} blocks',
        # Where the file has no table, it starts from the computed one.
        missing_ok=('pos_embed',),
    )
    if decoder is not None:
        load_fully(decoder, inner, source=named, what='decoder')
    if converted.left:
        parts = sorted({name_group(key) for key in converted.left})
        report += (
            f'; {len(converted.left)} tensors of the file are left out: '
            f'{", ".join(parts)}'
        )
    print_log(report, 'current')
    return converted


def _check_fits(
    encoder: Mapping[str, Tensor],
    backbone: BIMMVisionTransformer,
    source: str,
) -> None:
    """Refuse an encoder of another kind."""
    # A Conv3d's weight has five dimensions, a Conv2d's four.
    video = encoder[PATCH].ndim == 5
    if video != backbone.video:
        raise ValueError(
            f'{source} is {_KINDS[video]}, and the config has '
            f'{_KINDS[backbone.video]}: use a checkpoint of the '
            f'{_BRANCHES[backbone.video]} branch, or set prefix= of init_cfg '
            'to that branch of this one'
        )
    if backbone.cls_token is not None and 'cls_token' not in encoder:
        raise ValueError(
            f'{source} has no class token: set with_cls_token=False and '
            "out_type='avg' of the backbone"
        )
    table, own = encoder.get('pos_embed'), backbone.pos_embed
    if table is not None and own is not None and table.shape != own.shape:
        raise ValueError(
            f'{source} has positions of {table.shape[1]} tokens, and the '
            f'config {own.shape[1]}: set interpolate_from of the backbone to '
            'the input of the checkpoint, (frames, height, width)'
        )


def _positions(backbone: BIMMVisionTransformer) -> str:
    grid = ' x '.join(map(str, backbone.grid()))
    if backbone.interpolate_from is None:
        how = 'computed' if backbone.pos_embed is None else 'learned'
        return f'encoder: positions {how} for {grid} tokens'
    source = ' x '.join(map(str, backbone.grid(backbone.interpolate_from)))
    return f'encoder: positions of {source} tokens interpolated to {grid}'
