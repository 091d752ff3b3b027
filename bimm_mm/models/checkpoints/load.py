"""Loading weights: strictly, with a report, and by branch.

:func:`read_state_dict` reads a file safely, :func:`load_fully` fills a module
and says what it found. :func:`load_pretrained` hands an encoder over to a
downstream task, :func:`init_from_ventral` starts the joint stage from stage 1
(Algorithm 1, line 6).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.logging import print_log
from torch import Tensor, nn

from bimm_mm.models.checkpoints.convert import to_bimm
from bimm_mm.utils.safe_load import read_checkpoint

if TYPE_CHECKING:
    from bimm_mm.models.backbones.vit import BIMMVisionTransformer
    from bimm_mm.models.pretrainers.bimm import BIMM

# Where the weights lie in checkpoints of MMEngine and of MAE or VideoMAE.
_CONTAINERS = ('state_dict', 'model', 'module')
_BRANCHES = {True: 'dorsal', False: 'ventral'}
_KINDS = {True: 'a video encoder', False: 'an image encoder'}
_PATCH = 'patch_embed.proj.weight'


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint file, tensors only, onto the CPU.

    It is a ``.pth`` file of MMEngine, MAE or VideoMAE, or a bare state dict.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint or holds no weights.
    """
    content = read_checkpoint(path)
    # The weights may lie deeper in the file.
    for key in _CONTAINERS:
        if isinstance(content, Mapping) and key in content:
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        raise ValueError(f'{path} holds no state dict of tensors')
    return strip_prefixes(content)


def strip_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what DDP (``module.``) and torch.compile put in them."""
    return {
        key.replace('_orig_mod.', '').removeprefix('module.'): value
        for key, value in state.items()
    }


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
    what: str,
    source: str,
    missing_ok: tuple[str, ...] = (),
    exact: bool = False,
) -> None:
    """Load weights that must cover a module; log counts and what is left.

    ``what`` and ``source`` name module and weights in messages. A weight of
    another shape is a ValueError, and so is one that is missing, unless its
    name starts with one of ``missing_ok``, and with ``exact`` one too many.
    """
    own = module.state_dict()
    found = {key: state[key] for key in own if key in state}
    try:
        missing = module.load_state_dict(found, strict=False).missing_keys
    except RuntimeError as error:
        # The first line only says that something is wrong.
        reason = str(error).splitlines()[1].strip(' \t.')
        raise ValueError(
            f'{source} does not fit {what}: {reason}. Use a checkpoint of the '
            'same arch and patch size, or change the config to match it'
        ) from error
    fatal = [key for key in missing if not key.startswith(missing_ok)]
    if fatal:
        raise ValueError(
            f'{source} does not cover {what}: {len(fatal)} of {len(own)} '
            f'tensors are missing, such as {fatal[0]}. Use a checkpoint of '
            'the same arch and options'
        )
    left = [key for key in state if key not in own] if exact else []
    if left:
        raise ValueError(
            f'{source} is of another model than {what}: {len(left)} of its '
            f'{len(state)} tensors have no place, such as {left[0]}'
        )
    report = f'{what}: {len(found)} of {len(own)} tensors from {source}'
    if missing:
        report += f'; keeping initial weights: {", ".join(missing)}'
    level = logging.WARNING if missing else logging.INFO
    print_log(report, 'current', level)


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
        backbone: The encoder to fill, in place.
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
    prefix = _find_prefix(state, prefix, backbone.video, checkpoint)
    try:
        converted = to_bimm(state, prefix=prefix, key_bias=backbone.key_bias)
    except ValueError as error:
        raise ValueError(f'{checkpoint}: {error}') from error
    encoder = converted.state_dict
    source = f'{checkpoint} ({prefix or ""}*, names of {converted.scheme})'
    _check_fits(encoder, backbone, source)
    load_fully(backbone, encoder, what='encoder', source=source)
    report = _positions(backbone)
    if backbone.cls_token is None and 'cls_token' in encoder:
        report += '; the class token of the checkpoint is not used'
    print_log(report, 'current')


def _find_prefix(
    state: Mapping[str, Tensor], prefix: str | None, video: bool, path: str
) -> str | None:
    """Which encoder of the checkpoint; None leaves it to ``to_bimm``."""
    there = sorted(
        key[: -len(_PATCH)] for key in state if key.endswith(_PATCH)
    )
    # A joint checkpoint has two encoders: take the one of the same kind.
    if prefix is None:
        own = f'{_BRANCHES[video]}.backbone.'
        return own if own in there else None
    if not any(key.startswith(prefix) for key in state):
        raise ValueError(
            f'{path} has no encoder under prefix={prefix!r}; it has '
            f'{", ".join(map(repr, there)) or "none"}'
        )
    return prefix


def _check_fits(
    encoder: Mapping[str, Tensor],
    backbone: BIMMVisionTransformer,
    source: str,
) -> None:
    """Refuse an encoder of another kind, or one that has more blocks."""
    # A Conv3d's weight has five dimensions, a Conv2d's four.
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
    unused = sorted(set(encoder) - set(backbone.state_dict()) - {'cls_token'})
    if unused:
        raise ValueError(
            f'{source} is of another size: {len(unused)} of its tensors '
            f'have no place in this encoder of {backbone.depth} blocks, '
            f'such as {unused[-1]}. Set arch of the backbone to that of the '
            'checkpoint'
        )


def _positions(backbone: BIMMVisionTransformer) -> str:
    grid = ' x '.join(map(str, backbone.grid()))
    if backbone.interpolate_from is None:
        return f'encoder: positions computed for {grid} tokens'
    source = ' x '.join(map(str, backbone.grid(backbone.interpolate_from)))
    return f'encoder: positions of {source} tokens interpolated to {grid}'


def init_from_ventral(
    model: BIMM, checkpoint: str | None, *, inflate_patch_embed: bool
) -> None:
    """Load both branches from a checkpoint of the ventral stage.

    The ventral branch goes on where stage 1 stopped, decoders included. The
    dorsal encoder takes the ventral encoder's blocks, class token and final
    norm; its decoders start from scratch. The log counts what was loaded.

    Arguments are options of :class:`bimm_mm.BIMM`.

    Raises:
        FileNotFoundError: If the checkpoint does not exist.
        ValueError: If it does not cover an encoder, or has another width.
    """
    if checkpoint is None:
        print_log(
            'no ventral_checkpoint: both branches start from scratch '
            '(the paper starts the joint stage from stage 1)',
            'current',
            logging.WARNING,
        )
        return
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(
            f'there is no ventral checkpoint at {checkpoint}: run stage 1 '
            'first (configs/bimm/pretrain_ventral_*.py), or set '
            'model.ventral_checkpoint to where it is, or to None to train '
            'from scratch or to resume a joint run without it'
        )
    state = read_state_dict(checkpoint)
    # A joint checkpoint holds the ventral branch under its own name.
    state = subtree(state, 'ventral.') or state
    ventral, dorsal = model.ventral, model.dorsal
    # Stage 1 is an image branch: its encoder serves both, its decoders the
    # ventral branch.
    encoder = subtree(state, 'backbone.')
    source = f'ventral checkpoint {checkpoint}'
    load_fully(
        ventral.backbone, encoder, what='ventral encoder', source=source
    )
    load_fully(
        ventral.head,
        subtree(state, 'head.'),
        what='ventral decoders',
        source=source,
        missing_ok=('areas.',),
    )
    # The image's patch embedding has no time: it is inflated or left out.
    shared = {k: v for k, v in encoder.items() if not k.startswith('patch_')}
    if inflate_patch_embed:
        tubelet = dorsal.backbone.patch[0]
        shared[_PATCH] = inflate(encoder[_PATCH], tubelet)
        shared['patch_embed.proj.bias'] = encoder['patch_embed.proj.bias']
    load_fully(
        dorsal.backbone,
        shared,
        what='dorsal encoder',
        source=source,
        missing_ok=() if inflate_patch_embed else ('patch_embed.',),
    )


def inflate(weight: Tensor, tubelet: int) -> Tensor:
    """Repeat a 2-D patch embedding over time, keeping its response.

    (D, 3, p, p) becomes (D, 3, t, p, p). Divided by the tubelet length t, it
    answers to a still clip as the image embedding answers to its frame.
    """
    return weight.unsqueeze(2).repeat(1, 1, tubelet, 1, 1) / tubelet
