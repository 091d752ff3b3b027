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

_AXES = ('spatial', 'temporal', 'class')  # of MAE-ST's positions
_PATCH, _NORM = 'patch_embed.proj.weight', 'blocks.0.norm1.weight'
# Of the encoder, in our names; the rest must match FOREIGN.
_OURS = re.compile(
    r'cls_token|(patch_embed\.proj|norm)\.(weight|bias)'
    r'|blocks\.\d+\.(norm[12]|attn\.(qkv|[qkv]|proj)|mlp\.fc[12])'
    r'\.(weight|bias)|blocks\.\d+\.(attn\.[qv]_bias|gamma_[12])'
)
_TABLE, _INNER_TABLE = 'pos_embed', 'decoder.pos_embed'
_TABLES = (_TABLE, *(f'pos_embed_{x}' for x in _AXES))
_LAST_NORM = re.compile(r'fc_norm\.(weight|bias)')
# Which dimension of a weight runs over the residual stream.
_STREAM = (
    (r'cls_token', -1),
    (r'patch_embed\.proj\.(weight|bias)', 0),
    (r'decoder\.mask_token', -1),
    (r'decoder\.embed\.(weight|bias)', 0),
    (r'decoder\.embed\.weight', 1),
    (r'(.*\.)?norm[12]?\.(weight|bias)', 0),
    (r'.*\.(attn\.proj|mlp\.fc2)\.(weight|bias)', 0),
    (r'.*\.(attn\.qkv|mlp\.fc1|pred)\.weight', 1),
)


class Converted(NamedTuple):
    """Weights of the encoder, whose names they had, and what is left out.

    A decoder that was asked for is under ``decoder.``.
    """

    state_dict: dict[str, Tensor]
    scheme: str
    left: list[str]


def to_bimm(
    state_dict: Mapping[str, Tensor],
    *,
    key_bias: bool = True,
    prefix: str | None = None,
    learned_positions: bool = False,
    decoder: bool = False,
) -> Converted:
    """Rename and rearrange weights; the encoder then computes the same.

    Understood are the encoders of MAE, VideoMAE, MAE-ST, DeepMIM, LocalMIM,
    OmniMAE, MaskFeat, MVD, timm, mmaction2's VideoMAE, mmpretrain's and
    mmsegmentation's ViT and MAE, and transformers' VideoMAE, ViTMAE and ViT,
    of pretraining or of finetuning. One exception: a checkpoint of
    mmpretrain's own MAE code gives the same features with the two halves of
    the channels exchanged, see :func:`adapt_to_stored`.

    Args:
        state_dict: Weights of a whole model or of its encoder alone. It is
            left as it is.
        key_bias: The ``key_bias`` of the encoder that will load the result.
            Dropping a key bias changes no output.
        prefix: What precedes the encoder's keys, such as ``'backbone.'``. If
            None, found by itself.
        learned_positions: The ``learned_positions`` of that encoder: a stored
            table is kept as ``pos_embed`` then, whatever it is.
        decoder: Whether the decoder of pixels comes along, of pretraining
            with MAE, VideoMAE, mmpretrain's MAE or transformers' of either.

    Raises:
        ValueError: The scheme is unknown, there are several encoders, a key
            is neither of the encoder nor of a decoder or head, or the
            weights need something this encoder has not.
    """
    plain = {_plain(key): key for key in state_dict}
    scheme, prefix = _recognize(plain, prefix)
    names = {
        key: rename(name[len(prefix) :], ENCODERS[scheme], to_ours=True)
        for name, key in plain.items()
        if name.startswith(prefix)
    }
    # A model finetuned with mean pooling has its only last norm after the
    # mean, where this encoder with out_type='avg' applies its own.
    # transformers has it beside the encoder, not in it.
    if 'norm.weight' not in names.values():
        for key in state_dict:
            last = _LAST_NORM.fullmatch(names.get(key, key))
            if last:
                names[key] = f'norm.{last[1]}'
    ours = {
        name: state_dict[key]
        for key, name in names.items()
        if _OURS.fullmatch(name)
    }
    left = [key for key in state_dict if names.get(key) not in ours]
    _check_left({key: state_dict[key] for key in left}, names)
    stored = {names[k]: state_dict[k] for k in left if k in names}
    if decoder:
        video = ours[_PATCH].ndim == 5
        found = _decoder_names(plain, scheme, prefix, video)
        left = [key for key in left if key not in found]
        ours |= {name: state_dict[key] for key, name in found.items()}
    tables = {k: ours.pop(k) for k in (_INNER_TABLE,) if k in ours}
    # Rearrange: q, k and v in one matrix, layer scale folded in, biases in
    # the form of this encoder.
    ours = set_bias_form(_fold_layer_scale(_join_qkv(ours)), key_bias)
    table = _stored_table(stored)
    if table is not None and learned_positions:
        ours |= _kept(ours, table)
    elif table is not None:
        tables[_TABLE] = table
    # Stored tables of positions must be the computed ones.
    ours = adapt_to_stored(ours, tables)
    left = [key for key in left if names.get(key) not in _TABLES]
    return Converted(ours, scheme, left)


def _decoder_names(
    plain: Mapping[str, str], scheme: str, prefix: str, video: bool
) -> dict[str, str]:
    """Our names of what belongs to the decoder of a form, by theirs."""
    for form in FORMATS.values():
        if (form.names, form.video) == (scheme, video) and form.decoder:
            # It stands beside the encoder, and its prefix.
            start = prefix.removesuffix(form.prefix)
            names = {
                key: rename(name[len(start) :], form.decoder, to_ours=True)
                for name, key in plain.items()
                if name.startswith(start)
            }
            return {k: v for k, v in names.items() if v[:8] == 'decoder.'}
    return {}


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
            rename(k, names, to_ours=False) for k in (_PATCH, _NORM)
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


def _check_left(left: dict[str, Tensor], names: dict[str, str]) -> None:
    """Refuse to leave out what the encoder would need to compute the same."""
    unknown = [
        key
        for key in left
        if key in names and not FOREIGN.fullmatch(names[key])
    ]
    if unknown:
        raise ValueError(
            f'{len(unknown)} keys of the checkpoint have no place in this '
            f'encoder, such as {", ".join(unknown[:3])}'
        )
    for key, value in left.items():
        if key in names and key.endswith('bias_table') and value.any():
            raise ValueError(
                f'{key} is trained: this encoder has no relative positions, '
                'so the checkpoint cannot be converted'
            )


def _join_qkv(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Separate layers of queries, keys and values -> one (3D, D), or (3D)."""
    state = dict(state)
    for key in [key for key in state if key.endswith('attn.q.weight')]:
        stem = key[: -len('q.weight')]
        parts = [state.pop(f'{stem}{part}.weight') for part in 'qkv']
        state[stem + 'qkv.weight'] = torch.cat(parts)
        if stem + 'q.bias' in state:
            # Without a bias of the keys, it is zero.
            zero = torch.zeros_like(state[stem + 'q.bias'])
            biases = [state.pop(f'{stem}{p}.bias', zero) for p in 'qkv']
            state[stem + 'qkv.bias'] = torch.cat(biases)
    return state


def set_bias_form(
    state: dict[str, Tensor], key_bias: bool
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
    """Scale of a branch, as mmsegmentation has it -> its last layer."""
    state = dict(state)
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
    if 'pos_embed' in stored or 'pos_embed_spatial' not in stored:
        return stored.get('pos_embed')
    places, times = (stored[f'pos_embed_{x}'] for x in ('spatial', 'temporal'))
    table = (times.unsqueeze(2) + places.unsqueeze(1)).flatten(1, 2)
    return torch.cat(
        [stored.get('pos_embed_class', table[:, :0]), table], dim=1
    )


def _kept(ours: Mapping[str, Tensor], stored: Tensor) -> dict[str, Tensor]:
    """A stored table (1, N, D); its row of the class token goes to that."""
    count = stored.shape[1]
    # Some of timm have no row for it: their count is the square, not ours.
    bare = 'cls_token' not in ours or (
        ours[_PATCH].ndim == 4 and math.isqrt(count) ** 2 == count
    )
    if bare:
        return {'pos_embed': stored}
    cls_token = ours['cls_token'] + stored[:, :1]
    return {'pos_embed': stored[:, 1:], 'cls_token': cls_token}


def adapt_to_stored(
    state: dict[str, Tensor], tables: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Weights that mean with computed positions what they mean with stored.

    mmpretrain's MAE tells the row in the first half of the channels and the
    column in the second; MAE itself and this encoder do it the other way
    round. Exchanging the halves of all weights that read or write the
    residual stream makes up for it exactly: such an encoder computes the same
    features, with the halves of their channels exchanged.

    ``state`` has our names, ``tables`` are ``pos_embed`` and that of a
    decoder, (1, N, D), or (1, 1 + N, D) with a class token. One that is
    neither of the two is a ValueError.
    """
    video = state[_PATCH].ndim == 5
    extra = int('cls_token' in state)
    swapped = {_is_swapped(*item, extra, video) for item in tables.items()}
    if swapped == {True, False} or (swapped == {True} and _TABLE in state):
        raise ValueError(
            'positions of the checkpoint are of two formulas, so encoder and '
            'decoder cannot be converted together'
        )
    if True in swapped:
        return {key: _swap_stream(key, state[key]) for key in state}
    return state


def _is_swapped(name: str, stored: Tensor, extra: int, video: bool) -> bool:
    """Whether a table is the computed one with its halves exchanged."""
    patches = stored[0, extra:].float()
    computed = _computed(len(patches), patches.shape[1], video)
    if computed is not None and not stored[0, :extra].any():
        if torch.allclose(patches, computed, atol=1e-3):
            return False
        if not video and torch.allclose(patches, _swap(computed), atol=1e-3):
            return True
    remedy = 'set learned_positions=True of the backbone, which then keeps it'
    if name != _TABLE:
        remedy = 'the decoder cannot be converted'
    raise ValueError(
        f'{name} of the checkpoint is no sine-cosine table of MAE, '
        'mmpretrain or VideoMAE but was trained or is of another formula: '
        + remedy
    )


def _computed(count: int, dim: int, video: bool) -> Tensor | None:
    """Our table for ``count`` tokens; None if an image is not square."""
    if video:
        return position_table((1, 1, count), dim, video=True)
    # A stored table does not say its sides: images of pretraining are square.
    side = math.isqrt(count)
    if side * side != count:
        return None
    return position_table((1, side, side), dim, video=False)


def _swap(x: Tensor, dim: int = 1) -> Tensor:
    """Exchange the first and the second half along a dimension."""
    return x.roll(x.shape[dim] // 2, dim)


def _swap_stream(key: str, value: Tensor) -> Tensor:
    for pattern, dim in _STREAM:
        if re.fullmatch(pattern, key):
            value = _swap(value, dim)
    return value
