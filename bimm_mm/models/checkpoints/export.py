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


def export_form(
    encoder: BIMMVisionTransformer,
    to: str,
    *,
    decoder: TransformerDecoder | None,
    head: Mapping[str, Tensor],
    pooled: bool,
) -> tuple[dict[str, Tensor], list[str], dict[str, Any]]:
    """Weights under the names of a form, positions included if it has them.

    A class token is left out of a form without one, see :func:`check_form`.

    Args:
        encoder: What to write.
        to: Key of :data:`FORMATS`.
        decoder: Its decoder of pixels, if it goes along.
        head: ``weight`` and ``bias`` of a linear classifier, or nothing; the
            form must have a name for it.
        pooled: Whether the final norm was finetuned on the mean of the
            tokens: forms that tell the two apart get it as ``fc_norm``.

    Returns:
        Weights; what the form does not hold, or computes a little
        differently; and, for transformers, its ``config.json``.

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
        if form.video and decoder.embed.bias is not None:
            raise ValueError(
                f'{to} cannot hold the decoder, as its map from encoder to '
                'decoder has no bias, and this one has (embed_bias=True): '
                'leave out --decoder'
            )
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
    named |= {f'{form.head}.{key}': x for key, x in head.items()}
    weights = {key: value.detach().clone() for key, value in named.items()}
    hf = form.split_qkv
    eps = {'decoder': decoder is not None, 'classifier': head and pooled}
    notes = {
        'the class token, to which the other tokens attended: their features '
        'differ': form.video and encoder.cls_token is not None,
        'the mask token of the encoder': encoder.with_mask_token,
        'the order of norm and mean: the norm was finetuned after the mean '
        'and comes before it here': pooled and hf and not head,
        **{
            f'the last eps of the {part}, 1e-6, which is 1e-5 here': (
                hf and form.video and there
            )
            for part, there in eps.items()
        },
    }
    lost = [note for note, applies in notes.items() if applies]
    classes = len(head['weight']) if head else 0
    return weights, lost, _hf_config(encoder, decoder, classes) if hf else {}


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


def _split_qkv(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One layer (3D, D) of queries, keys and values to three (D, D)."""
    split = {}
    for key, value in state.items():
        parts = 'qkv' if '.attn.qkv.' in key else ' '
        for part, piece in zip(parts, value.chunk(len(parts)), strict=True):
            split[key.replace('.qkv.', f'.{part}.')] = piece
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
    token = encoder.cls_token is not None
    computed = encoder.pos_embed is None and encoder.interpolate_from is None
    dropped = form.video and token
    reasons = {
        f'it reads {_KINDS[form.video]}, and the encoder '
        f'{_KINDS[encoder.video]}: choose another form, or --branch': (
            encoder.video != form.video
        ),
        'the encoder attends within windows, which no form has': (
            encoder.window_size
        ),
        'it has no class token; --drop-cls-token leaves it out, and features '
        'then differ, as the other tokens attended to it': (
            dropped and not drop_cls_token
        ),
        'it has a class token and square pictures, and the encoder '
        f'{"one" if token else "none"} and {height} x {width} pixels; timm '
        'and mmpretrain do without': (
            form.mae and not (token and height == width)
        ),
        'it computes positions for its input, and those of the encoder are '
        'learned or interpolated': not (form.table or computed),
        '--drop-cls-token is for an encoder with a class token and a form '
        'without one: leave it out': drop_cls_token and not dropped,
        'it has no decoder: leave out --decoder': decoder and not form.decoder,
    }
    for reason, applies in reasons.items():
        if applies:
            raise ValueError(f'{to} cannot hold it: {reason}')


def _hf_config(
    encoder: BIMMVisionTransformer,
    decoder: TransformerDecoder | None,
    classes: int,
) -> dict[str, Any]:
    """What transformers' ``config.json`` says of the model.

    Without a decoder ViTMAE hides no tokens (``mask_ratio`` 0).
    """
    video = encoder.video
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
    kind = 'Model' if decoder is None else 'ForPreTraining'
    if video:
        config |= dict(
            num_frames=frames,
            tubelet_size=tubelet,
            use_mean_pooling=bool(classes),
        )
    elif decoder is None:
        config['mask_ratio'] = 0.0
    if classes:
        kind, config['num_labels'] = 'ForVideoClassification', classes
    if decoder is not None:
        block: Any = decoder.blocks[0]
        config |= dict(
            norm_pix_loss=True,
            decoder_hidden_size=decoder.decoder_dims,
            decoder_num_hidden_layers=len(decoder.blocks),
            decoder_num_attention_heads=block.attn.num_heads,
            decoder_intermediate_size=_hidden(decoder),
        )
    name = 'VideoMAE' if video else 'ViTMAE'
    return dict(config, architectures=[f'{name}{kind}'])


def _hidden(model: nn.Module) -> int:
    """Hidden width of its MLPs."""
    return len(model.state_dict()['blocks.0.mlp.fc1.bias'])
