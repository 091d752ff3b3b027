"""Checkpoints of other projects as weights of ``BIMMVisionTransformer``.

Three steps: names are translated by a table (``SCHEMES``), weights are
rearranged, and a stored position table is compared with the computed one.

Shapes: D width, N tokens.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from bimm_mm.models.layers.transformer import position_table

Rules = tuple[tuple[str, str], ...]


class Scheme(NamedTuple):
    """How a family of projects names the parameters of a ViT."""

    name: str  # who uses it
    marker: str  # the key by which it is recognized
    also: str  # a key that must be there as well
    rules: Rules  # patterns and replacements; the first match is applied


_OPENMMLAB_LAYERS: Rules = (
    (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
    (r'^layers\.(\d+)\.ln([12])\.', r'blocks.\1.norm\2.'),
    (r'^layers\.(\d+)\.attn\.', r'blocks.\1.attn.'),
    (r'^layers\.(\d+)\.ffn\.layers\.0\.0\.', r'blocks.\1.mlp.fc1.'),
    (r'^layers\.(\d+)\.ffn\.layers\.1\.', r'blocks.\1.mlp.fc2.'),
    (r'^layers\.(\d+)\.(gamma_[12])$', r'blocks.\1.\2'),
    (r'^ln1\.', 'norm.'),
    (r'^ln2\.', 'fc_norm.'),
)
_MMACTION: Rules = (
    (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
    (r'\.mlp\.layers\.0\.0\.', '.mlp.fc1.'),
    (r'\.mlp\.layers\.1\.', '.mlp.fc2.'),
)
_LAYER = r'^encoder\.layer\.(\d+)\.'
_SELF = _LAYER + r'attention\.attention\.'
_TRANSFORMERS: Rules = (
    (r'^embeddings\.patch_embeddings\.projection\.', 'patch_embed.proj.'),
    (_LAYER + r'layernorm_before\.', r'blocks.\1.norm1.'),
    (_LAYER + r'layernorm_after\.', r'blocks.\1.norm2.'),
    (_SELF + r'query\.', r'blocks.\1.attn.q_'),
    (_SELF + r'key\.', r'blocks.\1.attn.k_'),
    (_SELF + r'value\.', r'blocks.\1.attn.v_'),
    (_SELF + r'([qv]_bias)$', r'blocks.\1.attn.\2'),
    (_LAYER + r'attention\.output\.dense\.', r'blocks.\1.attn.proj.'),
    (_LAYER + r'intermediate\.dense\.', r'blocks.\1.mlp.fc1.'),
    (_LAYER + r'output\.dense\.', r'blocks.\1.mlp.fc2.'),
    (r'^layernorm\.', 'norm.'),
)
_PATCH, _NORM = 'patch_embed.proj.weight', 'blocks.0.norm1.weight'
_PROJECTION = 'patch_embed.projection.weight'
SCHEMES = (
    Scheme('timm, MAE, VideoMAE', _PATCH, _NORM, ()),
    Scheme('mmaction2', _PROJECTION, _NORM, _MMACTION),
    Scheme(
        'mmpretrain, mmsegmentation',
        _PROJECTION,
        'layers.0.ln1.weight',
        _OPENMMLAB_LAYERS,
    ),
    Scheme(
        'transformers (VideoMAE)',
        'embeddings.patch_embeddings.projection.weight',
        'encoder.layer.0.layernorm_before.weight',
        _TRANSFORMERS,
    ),
)

# Which dimension of a weight runs over the residual stream.
_STREAM = (
    (r'cls_token', -1),
    (r'patch_embed\.proj\.(weight|bias)', 0),
    (r'(.*\.)?norm[12]?\.(weight|bias)', 0),
    (r'.*\.(attn\.proj|mlp\.fc2)\.(weight|bias)', 0),
    (r'.*\.(attn\.qkv|mlp\.fc1)\.weight', 1),
)


class Converted(NamedTuple):
    """Weights of the encoder, and whose names the checkpoint used."""

    state_dict: dict[str, Tensor]
    scheme: str


# Of the encoder, in our names; the rest must match one of the next list.
_OURS = re.compile(
    r'cls_token|(patch_embed\.proj|norm)\.(weight|bias)'
    r'|blocks\.\d+\.(norm[12]|attn\.(qkv|proj)|mlp\.fc[12])\.(weight|bias)'
    r'|blocks\.\d+\.attn\.([qkv]_weight|[qv]_bias)|blocks\.\d+\.gamma_[12]'
)
_LAST_NORM = re.compile(r'fc_norm\.(weight|bias)')
# Decoders and heads, and a second norm, which is a head's as well.
_FOREIGN = re.compile(
    r'pos_embed|mask_token|(decoder\w*|encoder_to_decoder|head|fc_norm)(\..*)?'
    r'|.*\.relative_position_(index|bias_table)'
)


def to_bimm(
    state_dict: Mapping[str, Tensor],
    *,
    key_bias: bool = True,
    prefix: str | None = None,
) -> Converted:
    """Rename and rearrange weights; the encoder then computes the same.

    Understood are checkpoints of timm, MAE, VideoMAE, mmaction2's VideoMAE,
    mmpretrain's and mmsegmentation's ViT and MAE and transformers' VideoMAE,
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

    Raises:
        ValueError: The scheme is unknown, there are several encoders, a key
            is neither of the encoder nor of a decoder or head, or the
            weights need something this encoder has not.
    """
    scheme, prefix = _recognize(state_dict, prefix)
    names = {
        key: _rename(key[len(prefix) :], scheme.rules)
        for key in state_dict
        if key.startswith(prefix)
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
    dropped = [key for key in state_dict if names.get(key) not in ours]
    _check_dropped({key: state_dict[key] for key in dropped}, names)
    # Rearrange: q, k and v in one matrix, layer scale folded in, biases in
    # the form of this encoder.
    ours = _set_bias_form(_fold_layer_scale(_join_qkv(ours)), key_bias)
    # A stored table of positions must be the computed one.
    for key in dropped:
        if names.get(key) == 'pos_embed':
            ours = adapt_to_stored(ours, state_dict[key])
    return Converted(ours, scheme.name)


def _recognize(
    state_dict: Mapping[str, Tensor], prefix: str | None
) -> tuple[Scheme, str]:
    """The naming scheme, and what precedes the encoder's keys."""
    # Every place where a scheme's two tell-tale keys stand with one prefix.
    found = [
        (scheme, key[: -len(scheme.marker)])
        for scheme in SCHEMES
        for key in state_dict
        if key.endswith(scheme.marker)
        and key[: -len(scheme.marker)] + scheme.also in state_dict
        and prefix in (None, key[: -len(scheme.marker)])
    ]
    if not found:
        where = '' if prefix is None else f' under the prefix {prefix!r}'
        raise ValueError(
            f'no encoder of a known kind{where}: the keys start with '
            f'{", ".join(list(state_dict)[:3])}; known are the names of '
            f'{"; ".join(scheme.name for scheme in SCHEMES)}'
        )
    if len(found) > 1:
        raise ValueError(
            'the checkpoint has several encoders, choose one by prefix= '
            f'{", ".join(repr(start) for _, start in found)}'
        )
    return found[0]


def _check_dropped(dropped: dict[str, Tensor], names: dict[str, str]) -> None:
    """Refuse to drop what the encoder would need to compute the same."""
    left = [
        key
        for key in dropped
        if key in names and not _FOREIGN.fullmatch(names[key])
    ]
    if left:
        raise ValueError(
            f'{len(left)} keys of the checkpoint have no place in this '
            f'encoder, such as {", ".join(left[:3])}'
        )
    for key, value in dropped.items():
        if key in names and key.endswith('bias_table') and value.any():
            raise ValueError(
                f'{key} is trained: this encoder has no relative positions, '
                'so the checkpoint cannot be converted'
            )


def _rename(key: str, rules: Rules) -> str:
    for pattern, replacement in rules:
        renamed, count = re.subn(pattern, replacement, key)
        if count:
            return renamed
    return key


def _join_qkv(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Separate weights of queries, keys and values -> one matrix (3D, D)."""
    state = dict(state)
    for key in [key for key in state if key.endswith('attn.q_weight')]:
        stem = key[: -len('q_weight')]
        parts = [state.pop(f'{stem}{part}_weight') for part in 'qkv']
        state[stem + 'qkv.weight'] = torch.cat(parts)
    return state


def _set_bias_form(
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


def adapt_to_stored(
    state: dict[str, Tensor], stored: Tensor
) -> dict[str, Tensor]:
    """Weights that mean with computed positions what they mean with stored.

    mmpretrain's MAE tells the row in the first half of the channels and the
    column in the second; MAE itself and this encoder do it the other way
    round. Exchanging the halves of all weights that read or write the
    residual stream makes up for it exactly: such an encoder computes the same
    features, with the halves of their channels exchanged.

    ``state`` has our names, ``stored`` is (1, N, D), or (1, 1 + N, D) with a
    class token. A table that is neither of the two is a ValueError.
    """
    video = state['patch_embed.proj.weight'].ndim == 5
    extra = int('cls_token' in state)
    patches = stored[0, extra:]
    computed = _computed(len(patches), patches.shape[1], video)
    if computed is not None and not stored[0, :extra].any():
        if torch.allclose(patches.float(), computed, atol=1e-3):
            return state
        swapped = _swap(computed, 1)
        if not video and torch.allclose(patches.float(), swapped, atol=1e-3):
            return {key: _swap_stream(key, state[key]) for key in state}
    raise ValueError(
        'pos_embed of the checkpoint is no sine-cosine table of MAE, '
        'mmpretrain or VideoMAE but was trained; this encoder only computes '
        'positions. To start from its other weights nevertheless, delete '
        'pos_embed from the checkpoint'
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


def _swap(x: Tensor, dim: int) -> Tensor:
    """Exchange the first and the second half along a dimension."""
    return x.roll(x.shape[dim] // 2, dim)


def _swap_stream(key: str, value: Tensor) -> Tensor:
    for pattern, dim in _STREAM:
        if re.fullmatch(pattern, key):
            return _swap(value, dim)
    return value
