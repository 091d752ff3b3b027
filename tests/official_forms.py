"""Checkpoints as official codes write them: names and shapes, restated.

Tiny and random, but for tables that those codes compute.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from tests.restated import image_table, video_table

DIM, DEPTH, HEADS, WIDE = 24, 4, 3, 16  # WIDE: of decoders
ARCH = dict(embed_dims=DIM, depth=DEPTH, num_heads=HEADS)
IMAGE = dict(arch=ARCH, img_size=32)
VIDEO = dict(IMAGE, num_frames=4, tubelet_size=2)
NO_TOKEN = dict(with_cls_token=False, out_type='avg')
State = dict[str, Tensor]


def sizes_of_transformers(**others: Any) -> dict[str, Any]:
    """Arguments of a config of transformers, as small as these."""
    sizes = dict(hidden_size=DIM, intermediate_size=4 * DIM, image_size=32)
    depths = dict(num_hidden_layers=DEPTH, num_attention_heads=HEADS)
    return {**sizes, **depths, 'layer_norm_eps': 1e-6, **others}


class Form(NamedTuple):
    """A checkpoint, and what its own code computes."""

    state: State
    table: Tensor  # positions of all tokens, class token included
    options: dict[str, Any]  # of our encoder
    norm: str = 'norm'  # the last one
    prefix: str = ''  # of the encoder's keys
    patch: str = 'patch_embed.proj'
    container: str = 'model'


def some(**shapes: tuple[int, ...]) -> State:
    return {k: 0.3 * torch.randn(s) for k, s in shapes.items()}


def layer(name: str, out: int, *inner: int, bias: bool = True) -> State:
    """A linear layer or a convolution; a norm without ``inner``."""
    state = {f'{name}.weight': 0.2 * torch.randn(out, *inner)}
    if not inner:
        state[f'{name}.weight'] += 1
    if bias:
        state[f'{name}.bias'] = 0.2 * torch.randn(out)
    return state


def blocks(name: str, dim: int, depth: int, qkv: str = 'qkv') -> State:
    """Blocks of timm; ``qkv`` is how attention names its layers."""
    state: State = {}
    for index in range(depth):
        stem = f'{name}.{index}'
        state |= layer(f'{stem}.norm1', dim) | layer(f'{stem}.norm2', dim)
        state |= layer(f'{stem}.attn.proj', dim, dim)
        state |= layer(f'{stem}.mlp.fc1', 4 * dim, dim)
        state |= layer(f'{stem}.mlp.fc2', dim, 4 * dim)
        if qkv == 'split':
            for part in 'qkv':
                state |= layer(f'{stem}.attn.{part}', dim, dim)
        else:
            joint = qkv == 'qkv'
            state |= layer(f'{stem}.attn.qkv', 3 * dim, dim, bias=joint)
            if not joint:  # VideoMAE
                for part in 'qv':
                    state[f'{stem}.attn.{part}_bias'] = torch.randn(dim)
    return state


def vit(*, video: bool, qkv: str = 'qkv', cls_token: bool = True) -> State:
    """An encoder but for its last norm."""
    kernel = (2, 16, 16) if video else (16, 16)
    token = some(cls_token=(1, 1, DIM)) if cls_token else {}
    return {
        **token,
        **layer('patch_embed.proj', DIM, 3, *kernel),
        **blocks('blocks', DIM, DEPTH, qkv),
    }


def under(prefix: str, state: State) -> State:
    return {f'{prefix}{key}': value for key, value in state.items()}


def of_image(dim: int = DIM) -> Tensor:
    """MAE's table of 2 x 2 patches; the class token's row is zero."""
    table = image_table((1, 2, 2), dim)
    return torch.cat([torch.zeros(1, dim), table])[None]


def of_video(dim: int = DIM) -> Tensor:
    return video_table((2, 2, 2), dim)[None]


def mae_decoder(number: str = '') -> State:
    """MAE's, or one of DeepMIM's four."""
    return {
        **layer(f'decoder_embed{number}', WIDE, DIM),
        **some(**{f'mask_token{number}': (1, 1, WIDE)}),
        **blocks(f'decoder_blocks{number}', WIDE, 1),
        **layer(f'decoder_norm{number}', WIDE),
        **layer(f'decoder_pred{number}', 768, WIDE),
    }


def mae() -> Form:
    state = vit(video=False) | layer('norm', DIM) | mae_decoder()
    tables = dict(pos_embed=of_image(), decoder_pos_embed=of_image(WIDE))
    return Form({**state, **tables}, of_image(), IMAGE)


def mae_finetuned() -> Form:
    """MAE trains positions while finetuning; global pooling has fc_norm."""
    table = of_image() + 0.1 * torch.randn(1, 5, DIM)
    state = vit(video=False) | layer('fc_norm', DIM) | layer('head', 9, DIM)
    options = dict(IMAGE, out_type='avg', learned_positions=True)
    return Form({**state, 'pos_embed': table}, table, options, 'fc_norm')


def timm() -> Form:
    table = torch.randn(1, 5, DIM)
    state = vit(video=False) | layer('norm', DIM) | layer('head', 9, DIM)
    options = dict(IMAGE, learned_positions=True)
    return Form({**state, 'pos_embed': table}, table, options, container='')


def timm_without_a_position_of_the_class() -> Form:
    form = timm()
    table = form.table[:, 1:]
    padded = torch.cat([torch.zeros(1, 1, DIM), table], 1)
    return form._replace(
        state={**form.state, 'pos_embed': table}, table=padded
    )


def videomae() -> Form:
    inner = vit(video=True, qkv='q_bias', cls_token=False)
    state = {
        **under('encoder.', inner | layer('norm', DIM)),
        **under(
            'decoder.',
            blocks('blocks', WIDE, 1, 'q_bias')
            | layer('norm', WIDE)
            | layer('head', 1536, WIDE),
        ),
        **layer('encoder_to_decoder', WIDE, DIM, bias=False),
        **some(mask_token=(1, 1, WIDE)),
    }
    options = dict(VIDEO, **NO_TOKEN, key_bias=False)
    return Form(state, of_video(), options, prefix='encoder.')


def videomae_finetuned() -> Form:
    inner = vit(video=True, qkv='q_bias', cls_token=False)
    state = inner | layer('fc_norm', DIM) | layer('head', 9, DIM)
    options = dict(VIDEO, **NO_TOKEN)
    return Form(state, of_video(), options, 'fc_norm', container='module')


def deepmim() -> Form:
    state = vit(video=False) | layer('norm', DIM)
    for number in '1234':
        state |= mae_decoder(number)
    tables = dict(pos_embed=of_image(), decoder_pos_embed=of_image(WIDE))
    return Form({**state, **tables}, of_image(), IMAGE)


def localmim() -> Form:
    state = vit(video=False) | dict(pos_embed=of_image())
    for index in range(4):
        stem = f'decoder.{index}'
        state |= layer(f'norm.{index}', DIM)
        state |= layer(f'{stem}.embed', WIDE, DIM)
        state |= some(**{f'{stem}.mask_token': (1, 1, WIDE)})
        state |= {f'{stem}.pos_embed': of_image(WIDE)}
        state |= blocks(f'{stem}.blocks', WIDE, 1)
        state |= layer(f'{stem}.norm', WIDE)
        state |= layer(f'{stem}.pred.{(4, 1, 0, 1)[index]}', 27, 4, 1, 1)
        state |= some(**{f'hog_enc.{index}.conv.weight': (2, 1, 3, 3)})
    return Form(state, of_image(), IMAGE, norm='norm.3')


def omnimae() -> Form:
    """A padding of images comes first in its patch embedding."""
    inner = vit(video=True, cls_token=False) | layer('norm', DIM)
    inner = {
        key.replace('patch_embed.proj', 'patch_embed.proj.1'): value
        for key, value in inner.items()
    }
    decoder = {
        'pos_embed': of_video(),
        **layer('decoder_embed', WIDE, DIM),
        **layer('norm', WIDE),
        **blocks('decoder_blocks', WIDE, 1),
    }
    inner |= dict(pos_embed=of_video()) | some(mask_token=(1, DIM))
    state = under('trunk.', inner | under('decoder.', decoder))
    return Form(
        state | layer('head', 1536, WIDE),
        of_video(),
        dict(VIDEO, **NO_TOKEN),
        prefix='trunk.',
        patch='patch_embed.proj.1',
    )


def mae_st() -> Form:
    """Learned positions of places and of times, which are added."""
    places, times = torch.randn(1, 4, DIM), torch.randn(1, 2, DIM)
    token = torch.randn(1, 1, DIM)
    tables = dict(
        pos_embed_spatial=places,
        pos_embed_temporal=times,
        pos_embed_class=token,
    )
    inner = some(
        decoder_cls_token=(1, 1, WIDE),
        decoder_pos_embed_spatial=(1, 4, WIDE),
        decoder_pos_embed_temporal=(1, 2, WIDE),
        decoder_pos_embed_class=(1, 1, WIDE),
    )
    state = vit(video=True, qkv='split') | layer('norm', DIM)
    table = torch.cat(
        [token, places.repeat(1, 2, 1) + times.repeat_interleave(4, 1)], 1
    )
    options = dict(VIDEO, learned_positions=True)
    return Form({**state, **tables, **inner, **mae_decoder()}, table, options)


def maskfeat() -> Form:
    """SlowFast's; the encoder's norm belongs to the head."""
    table = torch.randn(1, 5, DIM)
    state = {
        **vit(video=False),
        **layer('pred_head.transforms.0.0', DIM),
        **layer('pred_head.projections.0', 108, DIM),
        **some(mask_token=(1, 1, DIM)),
        'hogs.0.weight_x': torch.zeros(3, 1, 3, 3),
        'hogs.0.weight_y': torch.zeros(3, 1, 3, 3),
        'pos_embed': table,
    }
    return Form(
        state,
        table,
        dict(IMAGE, learned_positions=True),
        norm='pred_head.transforms.0.0',
        container='model_state',
    )


def mvd() -> Form:
    """A student, whose table is of a formula of its own."""
    table = torch.randn(1, 8, DIM)
    state = vit(video=True, qkv='q_bias', cls_token=False)
    state |= layer('norm', DIM) | dict(pos_embed=table)
    for kind in ('img', 'vid'):
        state |= layer(f'down_{kind}', DIM, DIM)
        state |= blocks(f'decoder_{kind}.blocks', DIM, 1, 'q_bias')
        state |= layer(f'decoder_{kind}.norm', DIM)
        state |= layer(f'decoder_{kind}.head', 9, DIM)
        state |= some(**{f'mask_token_{kind}': (1, 1, DIM)})
        state |= {f'pos_embed_{kind}': table}
    options = dict(VIDEO, **NO_TOKEN, learned_positions=True)
    return Form(state, table, options)


FORMS = [
    mae,
    mae_finetuned,
    timm,
    timm_without_a_position_of_the_class,
    videomae,
    videomae_finetuned,
    deepmim,
    localmim,
    omnimae,
    mae_st,
    maskfeat,
    mvd,
]
