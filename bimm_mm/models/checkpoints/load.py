"""Loading weights: strictly, with a report, and by branch.

Every way into a model ends in :func:`load_fully`, which fills a module and
says what it found: :func:`load_model` of the same model (test, ``load_from``,
``resume``, visualize), :func:`load_pretrained` of an encoder for a downstream
task (``init_cfg``, features, probe), :func:`init_from_ventral` of stage 1 for
the joint stage (Algorithm 1, line 6), and ``init_cfg`` of any other module.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.logging import print_log
from mmengine.model import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner.checkpoint import _load_checkpoint
from torch import Tensor, nn

from bimm_mm.models.checkpoints.convert import to_bimm
from bimm_mm.utils.safe_load import read_checkpoint

if TYPE_CHECKING:
    from bimm_mm.models.backbones.vit import BIMMVisionTransformer
    from bimm_mm.models.pretrainers.bimm import BIMM

# Where the weights lie in checkpoints of MMEngine, of MAE or VideoMAE, alone
# or with DeepSpeed, of their averages, and of SlowFast.
_CONTAINERS = ('state_dict', 'model', 'module', 'model_ema', 'model_state')
# What DDP, torch.compile, FSDP and recomputed blocks put into names.
_WRAPPERS = re.compile(
    r'(^|(?<=\.))(module|_orig_mod|_fsdp_wrapped_module'
    r'|_checkpoint_wrapped_module)\.'
)
# Keys of the areas' decoders and of BIMM's branches.
_PRETRAINING = ('head.areas.', 'dorsal.', 'ventral.')
_BRANCHES = {True: 'dorsal', False: 'ventral'}
_KINDS = {True: 'a video encoder', False: 'an image encoder'}
_PATCH = 'patch_embed.proj.weight'


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint file, tensors only, onto the CPU.

    It is a file of MMEngine, MAE or VideoMAE, or a bare state dict.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint or holds no weights.
    """
    return find_weights(read_content(path), source=str(path))


def read_content(path: str | Path, map_location: Any = 'cpu') -> Any:
    """Read all that a file holds, or what is at an address with ``://``."""
    if '://' in str(path):
        return _load_checkpoint(str(path), map_location)
    return read_checkpoint(path, map_location)


def find_weights(content: Any, *, source: str) -> dict[str, Tensor]:
    """The weights in what a checkpoint file holds, by plain names.

    What DDP (``module.``), torch.compile (``_orig_mod.``) and FSDP put into
    names is taken off. ``source`` names the file in errors.

    Raises:
        ValueError: If there are none.
    """
    # The weights may lie deeper in the file.
    state = content
    for key in _CONTAINERS:
        if isinstance(content, Mapping) and key in content:
            state = content[key]
            break
    if (
        not isinstance(state, Mapping)
        or not state
        or not all(isinstance(value, Tensor) for value in state.values())
    ):
        keys = list(content)[:5] if isinstance(content, Mapping) else 'none'
        raise ValueError(
            f'{source} holds no state dict of tensors under '
            f'{", ".join(map(repr, _CONTAINERS))} or at its top, whose keys '
            f'are {keys}'
        )
    return {_WRAPPERS.sub('', key): value for key, value in state.items()}


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
        reasons = [line.strip('\t .') for line in str(error).splitlines()[1:]]
        raise ValueError(
            f'{source} does not fit {what}: {len(reasons)} of {len(own)} '
            f'tensors have another shape: {reasons[0]}. Use a '
            'checkpoint of the same arch, patch size and classes, or change '
            'the config to match it'
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


def load_model(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str,
    exact: bool = True,
) -> None:
    """Fill a whole model with weights of the same model; see load_fully.

    Raises:
        ValueError: If they are of another model. It says what does work with
            such a file.
    """
    try:
        load_fully(model, state, what='the model', source=source, exact=exact)
    except ValueError as error:
        own = model.state_dict()
        way = ''
        if any(key.startswith('ventral.') for key in own):
            way = (
                '. To start the joint stage from stage 1, give its '
                'checkpoint as model.ventral_checkpoint'
            )
        elif any(key.startswith(_PRETRAINING) for key in state):
            way = (
                '. It is a checkpoint of pretraining: to finetune from it, '
                'give it as model.backbone.init_cfg.checkpoint'
            )
        elif any('patch_embed' in key for key in state):
            way = (
                '. To take its encoder alone, give it as '
                'model.backbone.init_cfg.checkpoint'
            )
        raise ValueError(f'{error}{way}') from error


@WEIGHT_INITIALIZERS.register_module(name='Pretrained', force=True)
class StrictPretrainedInit(PretrainedInit):
    """``init_cfg`` of any module: it is filled, or the run ends.

    MMEngine's leaves the tensors that a file lacks at random values. Files
    may hold more than the module, such as another head. Arguments are those
    of its ``PretrainedInit``.
    """

    def __call__(self, module: nn.Module) -> None:
        """Fill a module; MMEngine calls it."""
        state = read_state_dict(self.checkpoint)
        if self.prefix:
            state = subtree(state, self.prefix.rstrip('.') + '.')
        load_model(module, state, source=self.checkpoint, exact=False)


def load_pretrained(
    backbone: BIMMVisionTransformer,
    checkpoint: str | None,
    prefix: str | None = None,
) -> None:
    """Fill an encoder from a checkpoint, completely, and log what was done.

    Understood are checkpoints of this project, of pretraining (both stages)
    and of finetuning, and those of :func:`to_bimm`. Position tables are
    computed and hence fit every resolution; with ``learned_positions`` the
    encoder keeps a stored one.

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
        converted = to_bimm(
            state,
            prefix=prefix,
            key_bias=backbone.key_bias,
            learned_positions=backbone.pos_embed is not None,
        )
    except ValueError as error:
        raise ValueError(f'{checkpoint}: {error}') from error
    encoder = converted.state_dict
    source = f'{checkpoint} ({prefix or ""}*, names of {converted.scheme})'
    _check_fits(encoder, backbone, source)
    # Without a table in the file, learned positions start from the computed.
    load_fully(
        backbone,
        encoder,
        what='encoder',
        source=source,
        missing_ok=('pos_embed',),
    )
    report = _positions(backbone)
    if converted.left:
        parts = sorted({name_group(key) for key in converted.left})
        report += (
            f'; {len(converted.left)} tensors of the file are left out: '
            f'{", ".join(parts)}'
        )
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
    table, own = encoder.get('pos_embed'), backbone.pos_embed
    if table is not None and own is not None and table.shape != own.shape:
        raise ValueError(
            f'{source} has positions of {table.shape[1]} tokens, and the '
            f'config {own.shape[1]}: set interpolate_from of the backbone to '
            'the input of the checkpoint, (frames, height, width)'
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
        how = 'computed' if backbone.pos_embed is None else 'learned'
        return f'encoder: positions {how} for {grid} tokens'
    source = ' x '.join(map(str, backbone.grid(backbone.interpolate_from)))
    return f'encoder: positions of {source} tokens interpolated to {grid}'


def init_from_ventral(
    model: BIMM, checkpoint: str | None, *, inflate_patch_embed: bool
) -> None:
    """Load both branches from a checkpoint of the ventral stage.

    The ventral branch goes on where stage 1 stopped, decoders included. The
    dorsal encoder takes the whole ventral encoder; its decoders start from
    scratch. The log counts what was loaded.

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
