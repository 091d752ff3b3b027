"""The hand-over: a pretrained encoder for a downstream task, as it is."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mmengine.logging import print_log
from torch import Tensor

from bimm_mm.models.checkpoints.checkpoint import load_fully, read_state_dict
from bimm_mm.models.checkpoints.convert import to_bimm

if TYPE_CHECKING:
    from bimm_mm.models.backbones.vit import BIMMVisionTransformer

_BRANCHES = {True: 'dorsal', False: 'ventral'}
_KINDS = {True: 'a video encoder', False: 'an image encoder'}
_PATCH = 'patch_embed.proj.weight'


def load_pretrained(
    backbone: BIMMVisionTransformer,
    checkpoint: str | None,
    prefix: str | None = None,
) -> None:
    """Fill an encoder from a checkpoint, completely, and log what was done.

    Understood are checkpoints of this project, of pretraining (both stages)
    and of finetuning, and those of :func:`to_bimm`. Position tables are
    computed and hence fit every resolution.

    Args:
        backbone (BIMMVisionTransformer): The encoder to fill, in place.
        checkpoint (str, optional): A file; None leaves the initial weights
            and says so.
        prefix (str, optional): What precedes the encoder's keys. Defaults to
            None: of a joint checkpoint ``'dorsal.backbone.'`` for a video
            encoder and ``'ventral.backbone.'`` for an image encoder, else
            found by itself.

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
    prefix = _find_prefix(state, prefix, backbone.video, checkpoint)
    try:
        converted = to_bimm(
            state, prefix=prefix, key_bias=_has_key_bias(backbone)
        )
    except ValueError as error:
        raise ValueError(f'{checkpoint}: {error}') from error
    encoder = converted.state_dict
    source = f'{checkpoint} ({prefix or ""}*, names of {converted.scheme})'
    _check_kind(encoder, backbone, source)
    unused = _check_unused(encoder, backbone, source)
    load_fully(backbone, encoder, what='encoder', source=source)
    print_log(_positions(backbone) + unused, 'current')


def _find_prefix(
    state: Mapping[str, Tensor], prefix: str | None, video: bool, path: str
) -> str | None:
    """Which encoder of the checkpoint; None leaves it to ``to_bimm``."""
    there = sorted(
        key[: -len(_PATCH)] for key in state if key.endswith(_PATCH)
    )
    if prefix is None:
        own = f'{_BRANCHES[video]}.backbone.'
        return own if own in there else None
    if not any(key.startswith(prefix) for key in state):
        raise ValueError(
            f'{path} has no encoder under prefix={prefix!r}; it has '
            f'{", ".join(map(repr, there)) or "none"}'
        )
    return prefix


def _check_kind(
    encoder: Mapping[str, Tensor],
    backbone: BIMMVisionTransformer,
    source: str,
) -> None:
    """Images and videos have patches of different dimensions."""
    video = encoder[_PATCH].ndim == 5
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


def _check_unused(
    encoder: Mapping[str, Tensor],
    backbone: BIMMVisionTransformer,
    source: str,
) -> str:
    """What is left over: a class token may be, a block may not."""
    unused = sorted(set(encoder) - set(backbone.state_dict()))
    if set(unused) - {'cls_token'}:
        raise ValueError(
            f'{source} is of another size: {len(unused)} of its tensors '
            f'have no place in this encoder of {backbone.depth} blocks, '
            f'such as {unused[-1]}. Set arch of the backbone to that of the '
            'checkpoint'
        )
    return '; its class token is not used' if unused else ''


def _has_key_bias(backbone: BIMMVisionTransformer) -> bool:
    return backbone.blocks[0].attn.qkv.bias is not None


def _positions(backbone: BIMMVisionTransformer) -> str:
    grid = ' x '.join(map(str, backbone.grid()))
    if backbone.interpolate_from is None:
        return f'encoder: positions computed for {grid} tokens'
    source = ' x '.join(map(str, backbone.grid(backbone.interpolate_from)))
    return f'encoder: positions of {source} tokens interpolated to {grid}'
