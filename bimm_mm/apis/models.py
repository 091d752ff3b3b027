"""Encoders by source or by name, and configs by name."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from bimm_mm.apis.config import find_configs, load_config
from bimm_mm.apis.encoder import MEAN, STD, Encoder
from bimm_mm.apis.source import (
    BRANCHES,
    INTERVAL,
    PACKAGED,
    Source,
    branches,
    choose_branch,
    intervals,
    read_source,
)
from bimm_mm.models.backbones.vit import ARCHS
from bimm_mm.models.checkpoints.convert import PATCH, to_bimm
from bimm_mm.models.checkpoints.load import load_converted
from bimm_mm.utils.device import find_device
from bimm_mm.utils.files import one_line

_KINDS = {'image': {}, 'video': dict(num_frames=16, tubelet_size=2)}
_BRANCHES = {'image': 'ventral', 'video': 'dorsal'}
# What peers train with, where a file says neither of the two.
_SIDE, _FRAMES = 224, 16


def load_encoder(
    source: str | Path,
    *,
    branch: str | None = None,
    device: str | torch.device | None = None,
) -> Encoder:
    """Load a pretrained or finetuned encoder; every tensor of it is filled.

    Size, branch, statistics of the pixels and frame interval are those of
    the config that the source holds. For files of other projects they follow
    from the shapes of the weights, and where these do not tell, they are
    224 x 224 pixels, 16 frames 4 apart and ImageNet's statistics.

    Args:
        source: A run folder, whose newest whole checkpoint is taken; a
            ``.pth`` or ``.safetensors`` file of this project or of a peer,
            see docs/checkpoints.md; a folder of transformers; or
            ``'bimm-cpu-demo'``, which comes with the package.
        branch: ``'ventral'``, images, or ``'dorsal'``, videos, of a joint
            model; None: dorsal.
        device: None or ``'auto'``: the GPU if there is one.

    Returns:
        In evaluation mode.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If it holds no encoder of a known kind, or not all of it.
    """
    return _load(read_source(source), branch, device)


def load_branches(
    source: str | Path, *, device: str | torch.device | None = None
) -> dict[str, Encoder]:
    """Load both encoders of a joint model, or the only one of others.

    Arguments and errors are those of :func:`load_encoder`.

    Returns:
        By ``'ventral'`` and ``'dorsal'``, or by ``'encoder'``.
    """
    found = read_source(source)
    names: list[str | None] = [
        name
        for name in BRANCHES
        if any(key.startswith(f'{name}.backbone.') for key in found.state)
    ]
    return {
        name or 'encoder': _load(found, name, device)
        for name in names or [None]
    }


def get_model(
    name: str,
    pretrained: str | Path | bool | None = None,
    *,
    device: str | torch.device | None = None,
) -> Encoder:
    """Build an encoder by name, such as ``'bimm-base-video'``.

    Args:
        name: One of :func:`list_models`: of 224 x 224 pixels, and 16 frames;
            ``'bimm-cpu-demo'`` is of 64 x 64 pixels and 8 frames.
        pretrained: Where its weights come from, see :func:`load_encoder`; of
            a joint model the branch that the name asks for. True: those that
            come with the package, for the demo alone. None: random.
        device: None or ``'auto'``: the GPU if there is one.

    Raises:
        ValueError: If there is no such name, or the weights are of another
            encoder.
    """
    if name not in list_models():
        raise ValueError(
            f'there is no model {name!r}{_near(name, list_models())}'
        )
    if name in PACKAGED:
        if pretrained not in (True, False, None):
            raise ValueError(
                f'{name} has weights of its own: set pretrained=True, or load '
                f'{pretrained} with load_encoder'
            )
        encoder = _load(read_source(name), None, device)
        if pretrained:
            return encoder
        interval = encoder.frame_interval
        return _place(
            Encoder(encoder.options, frame_interval=interval), device
        )
    _, arch, kind = name.split('-')
    if pretrained is True:
        raise ValueError(
            f'no weights of {name} come with the package, only those of '
            f'{" and ".join(PACKAGED)}: give the file or run that has them'
        )
    if not pretrained:
        return _place(Encoder(dict(arch=arch, **_KINDS[kind])), device)
    found = read_source(pretrained)
    wanted = _BRANCHES[kind]
    joint = any(key.startswith(f'{wanted}.') for key in found.state)
    encoder = _load(found, wanted if joint else None, device)
    has = encoder.backbone
    sizes = (has.embed_dims, has.depth, has.video)
    if sizes != (*ARCHS[arch][:2], kind == 'video'):
        raise ValueError(
            f'{pretrained} holds no {name} but an encoder of '
            f'{"videos" if has.video else "images"} with {has.depth} blocks '
            f'of width {has.embed_dims}: load it with load_encoder'
        )
    return encoder


def list_models(pattern: str = '*') -> list[str]:
    """Names for :func:`get_model` that match, such as ``'*-video'``."""
    names = [f'bimm-{arch}-{kind}' for arch in ARCHS for kind in _KINDS]
    return fnmatch.filter([*names, *PACKAGED], pattern)


def get_config(name: str) -> Config:
    """Read a released config by the name of its file, without ``.py``.

    Args:
        name: Such as ``'pretrain_joint_k400'``, or with its folder where
            several are called the same. The file is found in a clone or in
            what the wheel brings.

    Raises:
        ValueError: If there is no such config, or several; near names are
            listed.
    """
    files = sorted(find_configs().rglob('*.py'))
    paths = [x for x in files if '_base_' not in x.parts]
    names = {f'{path.parent.name}/{path.stem}': path for path in paths}
    found = [x for x in names if name in (x, names[x].stem)]
    if len(found) == 1:
        return load_config(names[found[0]])
    if found:
        raise ValueError(
            f'several configs are called {name!r}: give {" or ".join(found)}'
        )
    near = _near(name, [*names, *(path.stem for path in paths)])
    raise ValueError(f'there is no config {name!r}{near}')


def _near(name: str, names: Iterable[str]) -> str:
    near = get_close_matches(name, names, 5, 0.4) or sorted(names)
    return f': did you mean {" or ".join(near[:5])}?'


def _load(
    found: Source, branch: str | None, device: str | torch.device | None
) -> Encoder:
    """An encoder, filled; a ValueError names the file."""
    try:
        encoder, prefix = _build(found, branch)
    except ValueError as error:
        raise ValueError(f'{found.path}: {error}') from error
    except (ArithmeticError, LookupError, TypeError) as error:
        raise ValueError(
            f'{found.path}: its config does not fit: {one_line(error)}'
        ) from error
    load_converted(
        encoder.backbone, found.state, source=found.path, prefix=prefix
    )
    return _place(encoder, device, found.path)


def _build(found: Source, branch: str | None) -> tuple[Encoder, str | None]:
    """An encoder by the config, or by what weights without one tell.

    And what precedes its keys.
    """
    cfg = found.cfg
    if cfg is not None and branches(cfg.get('model')):
        start, part = choose_branch(cfg.model, branch)
        prefix = f'{start}backbone.' if start else None
        pixels = cfg.model.get('data_preprocessor')
        pixels = pixels or cfg.get('data_preprocessor') or {}
        encoder = Encoder(
            part.backbone,
            mean=pixels.get('mean') or MEAN,
            std=pixels.get('std') or STD,
            frame_interval=next(
                intervals(cfg.get('train_dataloader')),
                cfg.get('frame_interval', INTERVAL),
            ),
        )
        areas = part.get('areas') or ()
        encoder.areas = {area['name']: area['after_block'] for area in areas}
    else:
        prefix = _find_prefix(found, branch)
        options = _infer(found, prefix)
        hints = found.hints.get('pixels', {})
        kinds = ('image_mean', 'image_std') if hints else ()
        mean, std = [[255 * x for x in hints[k]] for k in kinds] or (MEAN, STD)
        encoder = Encoder(options, mean=mean, std=std)
    return encoder, prefix


def _place(
    encoder: Encoder, device: str | torch.device | None, source: str = ''
) -> Encoder:
    encoder.source = source
    return encoder.to(find_device(device)).eval()


def _find_prefix(found: Source, branch: str | None) -> str | None:
    """What precedes the encoder's keys where no config tells."""
    prefix = f'{branch or "dorsal"}.backbone.'
    if any(key.startswith(prefix) for key in found.state):
        return prefix
    if branch is not None:
        raise ValueError(
            f'branch {branch!r}: there is one encoder, leave it out'
        )
    return None


def _infer(found: Source, prefix: str | None) -> dict[str, Any]:
    """Options of an encoder from the shapes of its weights."""
    converted = to_bimm(found.state, prefix=prefix, learned_positions=None)
    state = converted.state_dict
    weight = state[PATCH]
    video, side = weight.ndim == 5, weight.shape[-1]
    tubelet = weight.shape[2] if video else 1
    width = weight.shape[0]
    depth = sum(key.endswith('.norm1.weight') for key in state)
    learned = 'pos_embed' in state
    steps, sides = _grid(
        found.hints,
        converted.tokens,
        side=side,
        tubelet=tubelet if video else 0,
        learned=learned,
    )
    return dict(
        arch=dict(
            embed_dims=width,
            depth=depth,
            num_heads=_heads(found.hints, width, depth),
            mlp_ratio=len(state['blocks.0.mlp.fc1.bias']) / width,
        ),
        img_size=sides * side,
        patch_size=side,
        num_frames=steps * tubelet,
        tubelet_size=tubelet,
        in_channels=weight.shape[1],
        with_cls_token='cls_token' in state,
        learned_positions=learned,
        out_type='avg' if 'fc_norm' in converted.norms else None,
    )


def _heads(hints: Mapping[str, Any], width: int, depth: int) -> int:
    """Heads of a known size: no weight has them in its shape."""
    for arch in ARCHS.values():
        if (arch.embed_dims, arch.depth) == (width, depth):
            return arch.num_heads
    if 'num_attention_heads' in hints:
        return hints['num_attention_heads']
    raise ValueError(
        f'{depth} blocks of width {width} are of no known size, and weights '
        'do not tell the number of heads: name it in a config, with the file '
        'as init_cfg of a bimm_mm.BIMMVisionTransformer'
    )


def _grid(
    hints: Mapping[str, Any],
    stored: int | None,
    *,
    side: int,
    tubelet: int,
    learned: bool,
) -> tuple[int, int]:
    """Tokens in time and along a side, of ``stored`` ones or as usual.

    ``tubelet`` is 0 for images.
    """
    pixels = hints.get('image_size', _SIDE)
    (pixels,) = {*pixels} if isinstance(pixels, list) else {pixels}
    usual = pixels // side
    steps = hints.get('num_frames', _FRAMES) // tubelet if tubelet else 1
    count = stored or steps * usual**2
    if not tubelet:
        usual = math.isqrt(count)
    elif count % usual**2 == 0:
        steps = count // usual**2
    # Computed positions fit any input.
    if learned and steps * usual**2 != count:
        raise ValueError(
            f'its {count} positions do not tell the size of its input: name '
            'it in a config, with the file as init_cfg of a '
            'bimm_mm.BIMMVisionTransformer'
        )
    return steps, usual
