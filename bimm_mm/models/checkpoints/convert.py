"""Checkpoints of other projects as weights of ``BIMMVisionTransformer``.

Three steps: names are translated by the table in :mod:`formats`, weights are
rearranged, and a stored position table is compared with the computed one, or
kept. A decoder of pixels goes the same way.

Shapes: D width, N tokens.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from bimm_mm.models.checkpoints.formats import (
    ALIASES,
    ENCODERS,
    FOREIGN,
    FORMATS,
    rename,
)
from bimm_mm.models.layers.transformer import position_table

PATCH, _NORM = 'patch_embed.proj.weight', 'blocks.0.norm1.weight'
# Of the encoder, in our names; the rest must match FOREIGN.
_OURS = re.compile(
    r'cls_token|(patch_embed\.proj|norm)\.(weight|bias)'
    r'|blocks\.\d+\.(norm[12]|attn\.(qkv|[qkv]|proj)|mlp\.fc[12])'
    r'\.(weight|bias)|blocks\.\d+\.(attn\.[qv]_bias|gamma_[12])'
)
_MATRIX = re.compile(r'blocks\.\d+\.(attn|mlp)\..*weight')
_NORMS = ('norm', 'fc_norm')
_TABLE, _INNER_TABLE = 'pos_embed', 'decoder.pos_embed'
# With MAE-ST's, which are added.
_TABLES = (_TABLE, *(f'pos_embed_{x}' for x in ('spatial', 'temporal')))
_CLASS_ROW = 'pos_embed_class'
_REMEDIES = {
    _TABLE: 'set learned_positions=True of the backbone, which then keeps it',
    _INNER_TABLE: 'the decoder cannot be converted',
}
# Which dimension of a weight runs over the residual stream.
_STREAM = (
    (r'cls_token|decoder\.mask_token', -1),
    (r'patch_embed\.proj\.\w+|decoder\.embed\.\w+', 0),
    (r'(.*\.)?norm[12]?\.\w+|.*\.(attn\.proj|mlp\.fc2)\.\w+', 0),
    (r'.*\.(attn\.qkv|mlp\.fc1|pred|embed)\.weight', 1),
)


class Converted(NamedTuple):
    """Weights of the encoder, and what is to be known of their file.

    A decoder that was asked for is under ``decoder.``.
    """

    state_dict: dict[str, Tensor]
    scheme: str  # whose names they had
    left: list[str]  # what is left out
    norms: tuple[str, ...]  # the last: norm, or fc_norm after the mean
    tokens: int | None  # of the stored table of positions


def to_bimm(
    state_dict: Mapping[str, Tensor],
    *,
    key_bias: bool = True,
    prefix: str | None = None,
    learned_positions: bool | None = False,
    decoder: bool = False,
) -> Converted:
    """Rename and rearrange weights; the encoder then computes the same.

    Understood are the encoders of docs/checkpoints.md, of pretraining or of
    finetuning. One exception: a checkpoint of mmpretrain's own MAE code gives
    the same features with the two halves of the channels exchanged.

    Args:
        state_dict: Weights of a whole model or of its encoder alone. It is
            left as it is.
        key_bias: The ``key_bias`` of the encoder that will load the result.
            Dropping a key bias changes no output.
        prefix: What precedes the encoder's keys, such as ``'backbone.'``. If
            None, found by itself.
        learned_positions: That of the encoder: a stored table is kept as
            ``pos_embed`` then, whatever it is. None: if it was trained.
        decoder: Whether the decoder of pixels comes along, of pretraining
            with MAE, VideoMAE, mmpretrain's MAE or transformers' of either.

    Raises:
        ValueError: The scheme is unknown, there are several encoders, a key
            is neither of the encoder nor of a decoder or head, or the
            weights need something this encoder has not.
    """
    plain = {_plain(key): key for key in state_dict}
    scheme, prefix = _recognize(plain, prefix)
    names = _renamed(plain, prefix, ENCODERS[scheme])
    # A model finetuned with mean pooling has its only last norm after the
    # mean, where this encoder with out_type='avg' applies its own.
    # transformers has it beside the encoder, not in it.
    last = {names.get(key, key): key for key in state_dict}
    norms = tuple(x for x in _NORMS if f'{x}.weight' in last)
    for part in ('weight', 'bias') if norms == ('fc_norm',) else ():
        if key := last.get(f'fc_norm.{part}'):
            names[key] = f'norm.{part}'
    ours = {
        name: state_dict[key]
        for key, name in names.items()
        if _OURS.fullmatch(name)
    }
    _check_dimensions(ours)
    left = [key for key in state_dict if names.get(key) not in ours]
    stored = {names[key]: state_dict[key] for key in left if key in names}
    _check_left(stored)
    if decoder:
        found = _decoder_names(plain, scheme, prefix, ours[PATCH].ndim == 5)
        left = [key for key in left if key not in found]
        ours |= {name: state_dict[key] for key, name in found.items()}
    inner = ours.pop(_INNER_TABLE, None)
    ours = set_bias_form(_fold_layer_scale(_join_qkv(ours)), key_bias)
    ours, tokens = _place_table(
        ours, _stored_table(stored), inner, keep=learned_positions
    )
    tables = (*_TABLES, _CLASS_ROW)
    left = [key for key in left if names.get(key) not in tables]
    return Converted(ours, scheme, left, norms, tokens)


def _check_dimensions(ours: Mapping[str, Tensor]) -> None:
    """Those by which weights are rearranged, and sizes told."""
    for name, value in ours.items():
        kinds = (4, 5) if name == PATCH else (2,) * bool(_MATRIX.match(name))
        if kinds and value.ndim not in kinds:
            raise ValueError(
                f'{name} has the shape {tuple(value.shape)}, not '
                f'{kinds[0]} dimensions, as that of an encoder has'
            )


def _plain(key: str) -> str:
    for pattern, replacement in ALIASES:
        key = re.sub(pattern, replacement, key)
    return key


def _recognize(keys: Mapping[str, str], prefix: str | None) -> tuple[str, str]:
    """The naming scheme, and what precedes the encoder's keys."""
    # Every place where a scheme's two tell-tale keys stand with one prefix.
    found = []
    for scheme, names in ENCODERS.items():
        marker, also = (
            rename(k, names, to_ours=False) for k in (PATCH, _NORM)
        )
        starts = [k[: -len(marker)] for k in keys if k.endswith(marker)]
        found += [(scheme, x) for x in starts if x + also in keys]
    chosen = [place for place in found if prefix in (None, place[1])]
    if len(chosen) == 1:
        return chosen[0]
    if not found:
        where = ''
        if any(key.endswith('_flat_param') for key in keys):
            where = ', but shards of FSDP: save its FULL_STATE_DICT'
        raise ValueError(
            f'no encoder of a known kind{where}: the keys start with '
            f'{", ".join(list(keys)[:3])}; known are the names of '
            f'{"; ".join(ENCODERS)}'
        )
    there = ', '.join(repr(start) for _, start in found)
    raise ValueError(
        f'prefix={prefix!r} chooses none of the encoders of the checkpoint, '
        f'which are under {there}'
    )


def _renamed(
    plain: Mapping[str, str], prefix: str, names: tuple[tuple[str, str], ...]
) -> dict[str, str]:
    """Our names of what is under a prefix, by the keys of the file."""
    return {
        key: rename(name[len(prefix) :], names, to_ours=True)
        for name, key in plain.items()
        if name.startswith(prefix)
    }


def _decoder_names(
    plain: Mapping[str, str], scheme: str, prefix: str, video: bool
) -> dict[str, str]:
    """Our names of what belongs to the decoder of a form, by theirs."""
    for form in FORMATS.values():
        if (form.names, form.video) == (scheme, video) and form.decoder:
            # It stands beside the encoder, and its prefix.
            start = prefix.removesuffix(form.prefix)
            names = _renamed(plain, start, form.decoder)
            return {k: v for k, v in names.items() if v[:8] == 'decoder.'}
    return {}


def _check_left(left: Mapping[str, Tensor]) -> None:
    """Refuse to leave out what the encoder would need to compute the same."""
    unknown = [name for name in left if not FOREIGN.fullmatch(name)]
    if unknown:
        raise ValueError(
            f'{len(unknown)} keys of the checkpoint have no place in this '
            f'encoder, such as {", ".join(unknown[:3])}'
        )
    for name, value in left.items():
        if name.endswith('bias_table') and value.any():
            raise ValueError(
                f'{name} is trained: this encoder has no relative positions, '
                'so the checkpoint cannot be converted'
            )


def _join_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Separate layers of queries, keys and values -> one (3D, D), or (3D)."""
    state = dict(state)
    for key in [key for key in state if key.endswith('attn.q.weight')]:
        stem = key[: -len('q.weight')]
        found = (state.pop(f'{stem}{part}.weight', None) for part in 'qkv')
        parts = [part for part in found if part is not None]
        state[stem + 'qkv.weight'] = torch.cat(parts)
        if stem + 'q.bias' in state:
            # Without a bias of the keys, it is zero.
            zero = torch.zeros_like(state[stem + 'q.bias'])
            biases = [state.pop(f'{stem}{p}.bias', zero) for p in 'qkv']
            state[stem + 'qkv.bias'] = torch.cat(biases)
    return state


def set_bias_form(
    state: Mapping[str, Tensor], key_bias: bool
) -> dict[str, Tensor]:
    """Biases of attention as ``qkv.bias`` or as ``q_bias`` and ``v_bias``."""
    state = dict(state)
    for key in [key for key in state if key.endswith('attn.qkv.weight')]:
        stem = key[: -len('qkv.weight')]
        # Rows of the matrix (3D, D): all queries, then keys, then values.
        zero = state[key].new_zeros(len(state[key]) // 3)
        if stem + 'qkv.bias' in state:
            q, k, v = state.pop(stem + 'qkv.bias').chunk(3)
        else:
            q, v = (state.pop(f'{stem}{p}_bias', zero) for p in 'qv')
            k = zero
        if key_bias:
            state[stem + 'qkv.bias'] = torch.cat([q, k, v])
        else:
            # A key bias adds the same to all scores of a query.
            state.update({stem + 'q_bias': q, stem + 'v_bias': v})
    return state


def _fold_layer_scale(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scale of a branch, as timm and mmsegmentation have it -> its layer."""
    for key in [key for key in state if key.endswith(('gamma_1', 'gamma_2'))]:
        # scale * (W x + b) is (scale * W) x + scale * b.
        scale = state.pop(key)
        layer = 'attn.proj' if key.endswith('1') else 'mlp.fc2'
        stem = key[: -len('gamma_1')] + layer
        state[stem + '.weight'] = scale[:, None] * state[stem + '.weight']
        state[stem + '.bias'] = scale * state[stem + '.bias']
    return state


def _stored_table(stored: Mapping[str, Tensor]) -> Tensor | None:
    """Positions (1, C + N, D), or (1, N, D); None if there are none.

    MAE-ST has one table for places, one for times and a row for the class
    token, which are added.
    """
    one, places, times = (stored.get(name) for name in _TABLES)
    if one is not None or places is None or times is None:
        return one
    table = (times.unsqueeze(2) + places.unsqueeze(1)).flatten(1, 2)
    return torch.cat([stored.get(_CLASS_ROW, table[:, :0]), table], dim=1)


def _place_table(
    ours: dict[str, Tensor],
    table: Tensor | None,
    inner: Tensor | None,
    *,
    keep: bool | None,
) -> tuple[dict[str, Tensor], int | None]:
    """Keep a stored table, or let weights mean the same with computed ones.

    Tables of encoder and decoder are (1, N, D), or (1, 1 + N, D) with a class
    token. Returns N of the encoder's, too.
    """
    tokens, found = None, {}
    if table is not None:
        kept, found[_TABLE] = _kept(ours, table), _is_swapped(ours, table)
        tokens = kept[_TABLE].shape[1]
        if keep or (keep is None and found[_TABLE] is None):
            ours, found[_TABLE] = ours | kept, False
    if inner is not None:
        found[_INNER_TABLE] = _is_swapped(ours, inner)
    for name in (name for name, swapped in found.items() if swapped is None):
        raise ValueError(
            f'{name} of the checkpoint is no sine-cosine table of MAE, '
            'mmpretrain or VideoMAE but was trained or is of another formula: '
            + _REMEDIES[name]
        )
    if len(set(found.values())) > 1:
        raise ValueError(
            'positions of the checkpoint are of two formulas, so encoder and '
            'decoder cannot be converted together'
        )
    if True in found.values():
        for key, (pattern, dim) in product(ours, _STREAM):
            if re.fullmatch(pattern, key):
                ours[key] = _swap(ours[key], dim)
    return ours, tokens


def _kept(ours: Mapping[str, Tensor], stored: Tensor) -> dict[str, Tensor]:
    """A stored table (1, N, D); its row of the class token goes to that."""
    count = stored.shape[1]
    # Some of timm have no row for it: their count is the square, not ours.
    bare = 'cls_token' not in ours or (
        ours[PATCH].ndim == 4 and math.isqrt(count) ** 2 == count
    )
    if bare:
        return {_TABLE: stored}
    cls_token = ours['cls_token'] + stored[:, :1]
    return {_TABLE: stored[:, 1:], 'cls_token': cls_token}


def _is_swapped(ours: Mapping[str, Tensor], stored: Tensor) -> bool | None:
    """Whether a table is the computed one with its halves exchanged.

    mmpretrain's MAE tells the row in the first half of the channels and the
    column in the second; MAE itself and this encoder do it the other way
    round. None if it is neither.
    """
    video, extra = ours[PATCH].ndim == 5, int('cls_token' in ours)
    patches = stored[0, extra:].float()
    count, dim = patches.shape
    # A table does not say its sides: images of pretraining are square.
    side = math.isqrt(count)
    if stored[0, :extra].any() or not (video or side * side == count):
        return None
    grid = (1, 1, count) if video else (1, side, side)
    computed = position_table(grid, dim, video=video)
    tables = [computed, *([] if video else [_swap(computed, 1)])]
    same = [torch.allclose(patches, table, atol=1e-3) for table in tables]
    return same.index(True) > 0 if any(same) else None


def _swap(x: Tensor, dim: int) -> Tensor:
    """Exchange the first and the second half along a dimension."""
    return x.roll(x.shape[dim] // 2, dim)
