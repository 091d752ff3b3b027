"""Checkpoints of other projects as weights of ``BIMMVisionTransformer``.

Shapes: D width, N tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from bimm_mm.models.checkpoints.key_schemes import SCHEMES, Rules, Scheme
from bimm_mm.models.checkpoints.stored_positions import adapt_to_stored


class Converted(NamedTuple):
    """What became of a checkpoint.

    Attributes:
        state_dict (dict[str, Tensor]): Weights of the encoder.
        scheme (str): Whose names the checkpoint used.
        dropped (tuple[str, ...]): Keys that are no part of the encoder.
    """

    state_dict: dict[str, Tensor]
    scheme: str
    dropped: tuple[str, ...]


# Of the encoder, in our names; the rest must match one of the next list.
_OURS = re.compile(
    r'cls_token|(patch_embed\.proj|norm)\.(weight|bias)'
    r'|blocks\.\d+\.(norm[12]|attn\.(qkv|proj)|mlp\.fc[12])\.(weight|bias)'
    r'|blocks\.\d+\.attn\.([qkv]_weight|[qv]_bias)|blocks\.\d+\.gamma_[12]'
)
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
    drop_learned_positions: bool = False,
) -> Converted:
    """Rename and rearrange weights; the encoder then computes the same.

    Understood are checkpoints of timm, MAE, VideoMAE, mmaction2's VideoMAE,
    mmpretrain's and mmsegmentation's ViT and MAE and transformers' VideoMAE,
    of pretraining or of finetuning. One exception: a checkpoint of
    mmpretrain's own MAE code gives the same features with the two halves of
    the channels exchanged, see :func:`adapt_to_stored`.

    Args:
        state_dict (Mapping[str, Tensor]): Weights of a whole model or of its
            encoder alone. It is left as it is.
        key_bias (bool): The ``key_bias`` of the encoder that will load the
            result. Dropping a key bias changes no output. Defaults to True.
        prefix (str, optional): What precedes the encoder's keys, such as
            ``'backbone.'``. Defaults to None: found by itself.
        drop_learned_positions (bool): Accept a checkpoint with a trained
            position table, which is lost. Defaults to False.

    Returns:
        Converted: Weights, naming scheme, dropped keys.

    Note:
        A model finetuned with mean pooling has its norm after the mean,
        ``fc_norm``, where this encoder with ``out_type='avg'`` applies its
        own ``norm``: it takes that place if it is the only one.

    Raises:
        ValueError: The scheme is unknown, there are several encoders, a key
            is neither of the encoder nor of a decoder or head, or the
            weights need something this encoder has not.
    """
    scheme, prefix = _recognise(state_dict, prefix)
    names = {
        key: _rename(key[len(prefix) :], scheme.rules)
        for key in state_dict
        if key.startswith(prefix)
    }
    if 'norm.weight' not in names.values():
        names = {k: _as_final_norm(name) for k, name in names.items()}
    ours = {
        name: state_dict[key]
        for key, name in names.items()
        if _OURS.fullmatch(name)
    }
    dropped = [key for key in state_dict if names.get(key) not in ours]
    _check_dropped({key: state_dict[key] for key in dropped}, names)
    ours = _set_bias_form(_fold_layer_scale(_join_qkv(ours)), key_bias)
    for key in dropped:
        if names.get(key) == 'pos_embed':
            ours = adapt_to_stored(
                ours, state_dict[key], drop_learned=drop_learned_positions
            )
    return Converted(ours, scheme.name, tuple(sorted(dropped)))


def _recognise(
    state_dict: Mapping[str, Tensor], prefix: str | None
) -> tuple[Scheme, str]:
    """The naming scheme, and what precedes the encoder's keys."""
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


def _as_final_norm(name: str) -> str:
    return re.sub(r'^fc_norm\.', 'norm.', name)


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
        scale = state.pop(key)
        layer = 'attn.proj' if key.endswith('1') else 'mlp.fc2'
        stem = key[: -len('gamma_1')] + layer
        state[stem + '.weight'] = scale[:, None] * state[stem + '.weight']
        state[stem + '.bias'] = scale * state[stem + '.bias']
    return state
