"""Our encoder, its decoder of pixels or its classifier, in forms of others.

Shapes: D width, C class tokens (0 or 1), N tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bimm_mm.models.checkpoints.convert import set_bias_form
from bimm_mm.models.checkpoints.formats import (
    ENCODERS,
    FORMATS,
    Format,
    rename,
)
from bimm_mm.models.layers.transformer import position_table

if TYPE_CHECKING:
    from bimm_mm.models.backbones.vit import BIMMVisionTransformer
    from bimm_mm.models.decoders.transformer import TransformerDecoder

_KINDS = {True: 'videos', False: 'images'}


def export_state(
    encoder: BIMMVisionTransformer,
    to: str,
    *,
    decoder: TransformerDecoder | None = None,
    head: Mapping[str, Tensor] | None = None,
    pooled: bool = False,
) -> dict[str, Tensor]:
    """Weights under the names of a form, positions included if it has them.

    A class token is left out of a form without one, see :func:`check_form`.

    Args:
        encoder: What to write.
        to: Key of :data:`FORMATS`.
        decoder: Its decoder of pixels, if it goes along.
        head: ``weight`` and ``bias`` of a linear classifier; the form must
            have a name for it.
        pooled: Whether the final norm was finetuned on the mean of the
            tokens: forms that tell the two apart get it as ``fc_norm``.

    Raises:
        ValueError: The form cannot hold this decoder; it says why and what
            can be done.
    """
    form = FORMATS[to]
    state = dict(encoder.state_dict())
    state.pop('pos_embed', None)
    # The token for hidden patches of MaskTokenViT is for pretraining only.
    state.pop('mask_token', None)
    if form.video:
        state.pop('cls_token', None)
    if decoder is not None:
        _check_bias(decoder, to)
        inner = decoder.state_dict()
        state |= {f'decoder.{key}': value for key, value in inner.items()}
    if form.table:
        token = 'cls_token' in state
        state['pos_embed'] = _table(encoder._positions(encoder.size), token)
        if decoder is not None:
            positions = position_table(
                encoder.grid(), decoder.decoder_dims, video=form.video
            )
            state['decoder.pos_embed'] = _table(positions, token)
    state = set_bias_form(state, key_bias=not form.video)
    if form.split_qkv:
        state = _split_qkv(state)
    if pooled and (head or not form.split_qkv):
        state['fc_norm.weight'] = state.pop('norm.weight')
        state['fc_norm.bias'] = state.pop('norm.bias')
        if to == 'videomae':  # an encoder without a prefix
            form = form._replace(prefix='')
    named = {_theirs(key, form): value for key, value in state.items()}
    named |= {f'{form.head}.{key}': x for key, x in (head or {}).items()}
    return {key: value.detach().clone() for key, value in named.items()}


def _theirs(key: str, form: Format) -> str:
    if key.startswith('decoder.'):
        return rename(key, form.decoder, to_ours=False)
    if form.split_qkv and key.startswith('fc_norm.'):  # beside the encoder
        return key
    return form.prefix + rename(key, ENCODERS[form.names], to_ours=False)


def _table(positions: Tensor, cls_token: bool) -> Tensor:
    """(N, D) to (1, C + N, D): the class token's position is 0."""
    row = positions.new_zeros(int(cls_token), positions.shape[1])
    return torch.cat([row, positions])[None]


def _split_qkv(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """One layer (3D, D) of queries, keys and values to three (D, D)."""
    split = {}
    for key, value in state.items():
        stem, found, kind = key.rpartition('attn.qkv.')
        if found:
            for part, piece in zip('qkv', value.chunk(3), strict=True):
                split[f'{stem}attn.{part}.{kind}'] = piece
        else:
            split[key] = value
    return split


def check_form(
    encoder: BIMMVisionTransformer,
    to: str,
    *,
    decoder: bool = False,
    drop_cls_token: bool = False,
) -> None:
    """Raise a ValueError if a form cannot hold an encoder, or any decoder."""
    form, (_, height, width) = FORMATS[to], encoder.size
    has_token = encoder.cls_token is not None
    computed = encoder.pos_embed is None and encoder.interpolate_from is None
    reason = None
    if encoder.video != form.video:
        reason = (
            f'it reads {_KINDS[form.video]}, and the encoder '
            f'{_KINDS[encoder.video]}: choose another form, or --branch'
        )
    elif encoder.window_size:
        reason = 'the encoder attends within windows, which no form has'
    elif form.video and has_token and not drop_cls_token:
        reason = (
            'it has no class token; --drop-cls-token leaves it out, and '
            'features then differ, as the other tokens attended to it'
        )
    elif form.mae and (not has_token or height != width):
        reason = (
            'it has a class token and square pictures, and the encoder '
            f'{"one" if has_token else "none"} and {height} x {width} '
            'pixels; timm and mmpretrain do without'
        )
    elif not form.table and not computed:
        reason = (
            'it computes positions for its input, and those of the encoder '
            'are learned or interpolated'
        )
    elif drop_cls_token and not (form.video and has_token):
        reason = (
            '--drop-cls-token is for an encoder with a class token and a form '
            'without one: leave it out'
        )
    elif decoder and not form.decoder:
        reason = 'it has no decoder: leave out --decoder'
    if reason:
        raise ValueError(f'{to} cannot hold it: {reason}')


def _check_bias(decoder: TransformerDecoder, to: str) -> None:
    if FORMATS[to].video and decoder.embed.bias is not None:
        raise ValueError(
            f'{to} cannot hold the decoder, as its map from encoder to '
            'decoder has no bias, and this one has (embed_bias=True): leave '
            'out --decoder'
        )


def losses(
    encoder: BIMMVisionTransformer,
    to: str,
    *,
    decoder: bool,
    head: bool,
    pooled: bool,
) -> list[str]:
    """What the form does not hold, or computes a little differently."""
    form = FORMATS[to]
    hf_video = to == 'hf-videomae'
    notes = {
        'the class token, to which the other tokens attended: their features '
        'differ': form.video and encoder.cls_token is not None,
        'the mask token of the encoder': encoder.with_mask_token,
        'the order of norm and mean: the norm was finetuned after the mean '
        'and comes before it here': pooled and form.split_qkv and not head,
        "the decoder's last eps of 1e-6, which is 1e-5 here": (
            hf_video and decoder
        ),
        "the last norm's eps of 1e-6, which is 1e-5 here": (
            hf_video and head and pooled
        ),
    }
    return [note for note, applies in notes.items() if applies]


def hf_config(
    encoder: BIMMVisionTransformer,
    to: str,
    *,
    decoder: TransformerDecoder | None = None,
    num_classes: int = 0,
) -> dict[str, Any]:
    """What transformers' ``config.json`` says of the model.

    Without a decoder ViTMAE hides no tokens (``mask_ratio`` 0); a classifier
    of ``num_classes`` makes it one of videos.
    """
    video = FORMATS[to].video
    frames, height, width = encoder.size
    tubelet, side, _ = encoder.patch
    config: dict[str, Any] = dict(
        model_type='videomae' if video else 'vit_mae',
        image_size=height if height == width else [height, width],
        patch_size=side,
        num_channels=encoder.patch_embed.in_channels,
        hidden_size=encoder.embed_dims,
        num_hidden_layers=encoder.depth,
        num_attention_heads=encoder.num_heads,
        intermediate_size=_hidden(encoder),
        layer_norm_eps=encoder.norm.eps,
        qkv_bias=True,
    )
    if video:
        config |= dict(
            num_frames=frames,
            tubelet_size=tubelet,
            use_mean_pooling=bool(num_classes),
        )
    kind = 'VideoMAE' if video else 'ViTMAE'
    if num_classes:
        return dict(
            config,
            architectures=['VideoMAEForVideoClassification'],
            num_labels=num_classes,
        )
    if decoder is None:
        unmasked = {} if video else dict(mask_ratio=0.0)
        return dict(config, architectures=[f'{kind}Model'], **unmasked)
    block: Any = decoder.blocks[0]
    return dict(
        config,
        architectures=[f'{kind}ForPreTraining'],
        norm_pix_loss=True,
        decoder_hidden_size=decoder.decoder_dims,
        decoder_num_hidden_layers=len(decoder.blocks),
        decoder_num_attention_heads=block.attn.num_heads,
        decoder_intermediate_size=_hidden(decoder),
    )


def _hidden(model: nn.Module) -> int:
    """Hidden width of its MLPs."""
    return len(model.state_dict()['blocks.0.mlp.fc1.bias'])
