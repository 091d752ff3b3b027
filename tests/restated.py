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


def encode(state, x, table, *, heads, patch='patch_embed.proj', prefix=''):
    """Tokens of a whole picture or clip after all blocks, before the norm.

    ``table`` is that of all tokens, class token included if there is one.
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
    depth = sum(
        key.endswith('norm1.weight') for key in state if key[:6] == 'blocks'
    )
    for index in range(depth):
        x = block(state, f'blocks.{index}', x, heads)
    return x


def mmpretrain_hog(pictures, *, bins=9, cell=8, window=16):
    """Histograms (B, 3 * bins, h, w) of pictures (B, 3, H, W) in [0, 1]."""
    generator = HOGGenerator(nbins=bins, pool=cell, gaussian_window=window)
    generator._reshape = lambda maps: maps.flatten(1, 2)
    # Levels 0..255: exact differences, whose signs no rounding can flip.
    return generator(pictures * 255)
