"""Published formulas, restated: position tables and the block of a ViT.

They take weights by name and nothing else from the project. Beside them
stands mmpretrain's HOG, and weights that are random throughout.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from mmpretrain.models.selfsup.maskfeat import HOGGenerator


@torch.no_grad()
def randomized(module, std=0.05):
    """No weight at its initial 0 or 1, so that each of them counts."""
    for name, parameter in module.named_parameters():
        if 'pos_embed' not in name:
            parameter.add_(std * torch.randn_like(parameter))
    module.eval()  # mmpretrain's returns nothing
    return module


def video_table(grid, dim):
    """VideoMAE: sines and cosines alternate along the flattened index."""
    angle = np.arange(np.prod(grid))[:, None] / 10000 ** (
        2 * (np.arange(dim)[None] // 2) / dim
    )
    angle[:, 0::2] = np.sin(angle[:, 0::2])
    angle[:, 1::2] = np.cos(angle[:, 1::2])
    return torch.tensor(angle, dtype=torch.float32)


def image_table(grid, dim):
    """MAE: the column, then the row; all sines, then all cosines."""
    _, height, width = grid
    column, row = np.meshgrid(np.arange(width), np.arange(height))
    omega = 1 / 10000 ** (np.arange(dim // 4) / (dim // 4))
    parts = []
    for place in (column, row):
        angle = place.reshape(-1, 1) * omega
        parts += [np.sin(angle), np.cos(angle)]
    return torch.tensor(np.concatenate(parts, 1), dtype=torch.float32)


def layer_norm(state, name, x):
    weight, bias = state[f'{name}.weight'], state[f'{name}.bias']
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps=1e-6)


def linear(state, name, x):
    return F.linear(x, state[f'{name}.weight'], state.get(f'{name}.bias'))


def block(state, name, x, heads):
    """Pre-norm block with textbook attention."""
    b, n, d = x.shape
    y = layer_norm(state, f'{name}.norm1', x)
    if f'{name}.attn.q.weight' in state:  # MAE-ST
        parts = [linear(state, f'{name}.attn.{part}', y) for part in 'qkv']
        qkv = torch.cat(parts, -1)
    else:
        qkv = linear(state, f'{name}.attn.qkv', y)
    if f'{name}.attn.q_bias' in state:
        q, v = state[f'{name}.attn.q_bias'], state[f'{name}.attn.v_bias']
        qkv = qkv + torch.cat([q, torch.zeros_like(q), v])
    q, k, v = qkv.reshape(b, n, 3, heads, -1).permute(2, 0, 3, 1, 4)
    weight = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
    x = x + linear(
        state,
        f'{name}.attn.proj',
        (weight @ v).transpose(1, 2).reshape(b, n, d),
    )
    y = linear(state, f'{name}.mlp.fc1', layer_norm(state, f'{name}.norm2', x))
    return x + linear(state, f'{name}.mlp.fc2', F.gelu(y))


def encode(
    state,
    x,
    table,
    *,
    heads,
    patch='patch_embed.proj',
    prefix='',
    visible=None,
):
    """Tokens of a picture or clip after all blocks, before the norm.

    ``table`` is that of all tokens, class token included if there is one;
    ``visible`` are the numbers of those that are not hidden.
    """
    state = {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if key.startswith(prefix)
    }
    weight, bias = state[f'{patch}.weight'], state[f'{patch}.bias']
    convolve = F.conv2d if weight.ndim == 4 else F.conv3d
    x = convolve(x, weight, bias, stride=weight.shape[2:])
    x = x.flatten(2).transpose(1, 2)
    if 'cls_token' in state:
        x = torch.cat([state['cls_token'].expand(len(x), -1, -1), x], 1)
    x = x + table
    if visible is not None:
        x = x[:, visible]
    depth = sum(
        key.endswith('norm1.weight') for key in state if key[:6] == 'blocks'
    )
    for index in range(depth):
        x = block(state, f'blocks.{index}', x, heads)
    return x


def decode(state, x, name, heads):
    """Blocks of a decoder, of any number."""
    index = 0
    while f'{name}.{index}.norm1.weight' in state:
        x = block(state, f'{name}.{index}', x, heads)
        index += 1
    return x


def predict_mae(state, x, visible, *, heads):
    """MAE's pixels of hidden patches; ``heads`` of encoder and decoder."""
    order = [0, *(visible + 1)]  # the class token, then patches
    table = state['pos_embed']
    y = encode(state, x, table, heads=heads[0], visible=order)
    y = linear(state, 'decoder_embed', layer_norm(state, 'norm', y))
    positions = state['decoder_pos_embed']
    sequence = state['mask_token'].repeat(len(x), positions.shape[1], 1)
    sequence[:, order] = y
    y = decode(state, sequence + positions, 'decoder_blocks', heads[1])
    y = linear(state, 'decoder_pred', layer_norm(state, 'decoder_norm', y))
    count = positions.shape[1]
    return y[:, [i for i in range(1, count) if i not in order]]


def predict_videomae(state, x, visible, *, heads):
    """VideoMAE's pixels of hidden patches; as :func:`predict_mae`."""
    width = state['mask_token'].shape[2]
    grid = (x.shape[2] // 2, x.shape[3] // 16, x.shape[4] // 16)
    dim = state['encoder.patch_embed.proj.bias'].shape[0]
    y = encode(
        state,
        x,
        video_table(grid, dim),
        heads=heads[0],
        prefix='encoder.',
        visible=visible,
    )
    y = linear(
        state, 'encoder_to_decoder', layer_norm(state, 'encoder.norm', y)
    )
    table = video_table(grid, width)
    hidden = [i for i in range(len(table)) if i not in visible]
    blank = (state['mask_token'] + table[hidden]).expand(len(x), -1, -1)
    y = torch.cat([y + table[visible], blank], 1)
    y = decode(state, y, 'decoder.blocks', heads[1])[:, -len(hidden) :]
    return linear(state, 'decoder.head', layer_norm(state, 'decoder.norm', y))


def mmpretrain_hog(pictures, *, bins=9, cell=8, window=16):
    """Histograms (B, 3 * bins, h, w) of pictures (B, 3, H, W) in [0, 1]."""
    generator = HOGGenerator(nbins=bins, pool=cell, gaussian_window=window)
    generator._reshape = lambda maps: maps.flatten(1, 2)
    # Levels 0..255: exact differences, whose signs no rounding can flip.
    return generator(pictures * 255)
