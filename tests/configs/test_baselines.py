"""Losses of the baselines' configs equal formulas restated here.

The restatement takes weights by name and nothing else from the project:
textbook attention and tables (``tests/restated.py``), targets and masks are
its own. What mmpretrain has is compared with that in
``test_mmpretrain_baselines.py``.

Shapes: B batch, N tokens, D width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bimm_mm.structures import ClipBatch
from tests.restated import (
    block,
    image_table,
    layer_norm,
    linear,
    mmpretrain_hog,
    randomized,
    video_table,
)
from tests.targets.test_gabor import BANK, strided_by_loops

BASELINES = Path(__file__).resolve().parents[2] / 'configs' / 'baselines'
HEADS, DEPTH = 4, 12  # of the toy
LUMA = (0.299, 0.587, 0.114)
KINDS = ('weight', 'bias')
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1, 1)


def _take(x, hidden):
    """Rows of (B or 1, N, D) where the mask (B, N) is True."""
    x = x.expand(len(hidden), -1, -1)
    return x[hidden].reshape(len(x), -1, x.shape[-1])


def _encode(state, clip, hidden, table, after_blocks):
    """Tokens after each of these blocks, the class token first."""
    weight = state['backbone.patch_embed.proj.weight']
    if weight.ndim == 4:
        weight = weight.unsqueeze(2)
    x = F.conv3d(
        clip, weight, state['backbone.patch_embed.proj.bias'], weight.shape[2:]
    )
    x = x.flatten(2).transpose(1, 2) + table(x.shape[2:], x.shape[1])
    x = _take(x, ~hidden)
    if 'backbone.cls_token' in state:
        token = state['backbone.cls_token'].expand(len(x), -1, -1)
        x = torch.cat([token, x], 1)
    found = {}
    for index in range(DEPTH):
        x = block(state, f'backbone.blocks.{index}', x, HEADS)
        if index + 1 in after_blocks:
            found[index + 1] = x
    found[DEPTH] = layer_norm(state, 'backbone.norm', x)
    return found


def _decode(state, name, x, hidden, table, grid):
    """Prediction for hidden tokens, (B, Nh, P)."""
    name = f'head.areas.{name}'
    if f'{name}.norm.weight' in state:
        x = layer_norm(state, f'{name}.norm', x)
    name = f'{name}.decoder'
    x = linear(state, f'{name}.embed', x)
    place = table(grid, x.shape[-1])[None]
    seen, unseen = _take(place, ~hidden), _take(place, hidden)
    classes = x.shape[1] - seen.shape[1]
    x = torch.cat(
        [
            x[:, :classes],
            x[:, classes:] + seen,
            state[f'{name}.mask_token'] + unseen,
        ],
        1,
    )
    x = block(state, f'{name}.blocks.0', x, HEADS)[:, -unseen.shape[1] :]
    return linear(state, f'{name}.pred', layer_norm(state, f'{name}.norm', x))


def _whole_grid(x, hidden, mask_token):
    """Visible and mask tokens at their places, (B, N, D), no class token."""
    grid = x.new_empty(*hidden.shape, x.shape[-1])
    grid[~hidden] = x.flatten(0, 1)
    grid[hidden] = mask_token.flatten()
    return grid


def _omnimae_decode(state, name, x, hidden, table, grid):
    """OmniMAE's code: positions and mask token have the encoder's width."""
    name = f'head.areas.{name}.decoder'
    x = _whole_grid(x, hidden, state[f'{name}.mask_token'])
    x = linear(state, f'{name}.embed', x + table(grid, x.shape[-1]))
    x = layer_norm(
        state, f'{name}.norm', block(state, f'{name}.blocks.0', x, HEADS)
    )
    return linear(state, f'{name}.pred', _take(x, hidden))


def _patches(maps, tubelet):
    """(B, 3, T, H, W) to (B, N, frames x rows x columns, 3)."""
    b, c, t, h, w = maps.shape
    x = maps.reshape(b, c, t // tubelet, tubelet, h // 16, 16, w // 16, 16)
    return x.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4, 6).flatten(1, 3)


def _videomae_target(pixels):
    x = _patches(pixels, 2)
    mean, std = x.mean(2, keepdim=True), x.var(2, keepdim=True).sqrt()
    return ((x - mean) / (std + 1e-6)).flatten(2)


def _omnimae_target(pixels):
    """OmniMAE's code: per channel, of un-normalized pixels, eps inside."""
    x = _patches(pixels, 2)
    mean, var = x.mean(2, keepdim=True), x.var(2, keepdim=True)
    return ((x - mean) / (var + 1e-6) ** 0.5).flatten(2)


def _mae_target(images, tubelet):
    x = _patches(images, tubelet).flatten(2)
    mean, var = x.mean(2, keepdim=True), x.var(2, keepdim=True)
    return (x - mean) / (var + 1e-6).sqrt()


def _motion_target(pixels):
    difference = (pixels[:, :, 1:] - pixels[:, :, :-1]).abs()
    difference = torch.cat([difference, difference[:, :, -1:]], 2)
    std = difference.flatten(1).std(1).view(-1, 1, 1)
    return _patches(difference, 2).flatten(2) / std


def _compare(
    branch,
    frames,
    table,
    targets,
    hidden_share,
    *,
    decode=_decode,
    contrast=1,
    contour=None,
):
    """Losses and one gradient of the branch and of the restatement."""
    pixels = 0.5 + contrast * (torch.rand(2, 3, frames, 64, 64) - 0.5)
    clip = (pixels - MEAN) / STD
    losses = {}
    torch.manual_seed(3)
    clips = ClipBatch(clip, pixels, contour)
    outputs = branch.forward_areas(clips)
    indices = next(iter(outputs.values())).indices
    grid = branch.backbone.grid((frames, 64, 64))
    hidden = torch.zeros(2, np.prod(grid), dtype=torch.bool)
    hidden.scatter_(1, indices.hidden, True)
    assert hidden.sum(1).tolist() == [hidden_share] * 2

    state = dict(branch.named_parameters())
    after_blocks = {area.after_block for area in branch.head.areas.values()}
    features = _encode(state, clip, hidden, table, after_blocks)
    for name, area in branch.head.areas.items():
        x = features[area.after_block]
        prediction = decode(state, name, x, hidden, table, grid)
        target = _take(targets[name](pixels, clip), hidden)
        losses[name] = F.mse_loss(prediction, target)
    assert list(losses) == list(outputs)
    torch.manual_seed(3)
    ours = branch(clips)
    weight = state['backbone.blocks.0.mlp.fc1.weight']
    total, expected = sum(ours.values()), sum(losses.values())
    for name, loss in losses.items():
        assert ours[f'loss_{name}'].item() == pytest.approx(loss.item(), 1e-4)
    gradients = [
        torch.autograd.grad(loss, weight)[0] for loss in (total, expected)
    ]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-3)


def _linear_decode(state, name, x, hidden, table, grid):
    """V1: places of hidden tokens attend once to the visible tokens."""
    name = f'head.areas.{name}'
    x = layer_norm(state, f'{name}.norm', x)
    name = f'{name}.decoder'
    value, key = (linear(state, f'{name}.{n}', x) for n in ('value', 'key'))
    place = _take(table(grid, value.shape[-1])[None], hidden)
    query = linear(state, f'{name}.query', state[f'{name}.mask_token'] + place)
    q, k, v = (y.unflatten(2, (HEADS, -1)) for y in (query, key, value))
    weight = torch.einsum('bqhd,bkhd->bhqk', q, k) / q.shape[-1] ** 0.5
    y = torch.einsum('bhqk,bkhd->bqhd', weight.softmax(-1), v).flatten(2)
    return linear(state, f'{name}.pred', linear(state, f'{name}.out', y))


def _bimm_decode(state, name, *args):
    decode = _linear_decode if name == 'V1' else _decode
    return decode(state, name, *args)


def _gabor_target(pixels, tubelet):
    """The bank by loops, one deviation per token."""
    bank = BANK._replace(stride=4)
    luma = torch.einsum('c,bcthw->bthw', torch.tensor(LUMA), pixels)
    maps = [strided_by_loops(x.numpy(), bank) for x in luma.flatten(0, 1)]
    cells = torch.tensor(np.stack(maps), dtype=torch.float32)
    cells = cells.unflatten(0, luma.shape[:2])  # (B, T, 32, 8, 8)
    cells = cells.unflatten(1, (-1, tubelet)).mean(2)
    tokens = cells.unflatten(4, (-1, 2)).unflatten(3, (-1, 2))
    tokens = tokens.permute(0, 1, 3, 5, 4, 6, 2).flatten(4).flatten(1, 3)
    mean, std = tokens.mean(2, keepdim=True), tokens.std(2, keepdim=True)
    return (tokens - mean) / std


@pytest.mark.parametrize(
    ('name', 'frames', 'count'),
    [
        ('bimm/pretrain_ventral_in1k', 1, 12),
        ('ablations/ablation_dorsal', 4, 28),
    ],
)
def test_bimm(toy_model, name, frames, count):
    """Both branches: V1, V2 and V4 or MT (Sec. 3.2); eq. 4 sums them up."""
    branch = toy_model(BASELINES.parent / f'{name}.py')
    contour = torch.rand(2, 1, frames, 64, 64)
    deviation = contour.flatten(1).std(1).view(2, 1, 1)
    tubelet = min(frames, 2)
    targets = {
        'V1': lambda pixels, _: _gabor_target(pixels, tubelet),
        'V2': lambda *_: _patches(contour, tubelet).flatten(2) / deviation,
    }
    if frames == 1:
        targets['V4'] = lambda _, clip: _mae_target(clip, 1)
    else:
        targets['MT'] = lambda pixels, _: _motion_target(pixels)
    table = image_table if frames == 1 else video_table
    _compare(
        branch,
        frames,
        table,
        targets,
        count,
        decode=_bimm_decode,
        contour=contour,
    )


@pytest.mark.parametrize(
    ('name', 'count'), [('k400', 8 * 14), ('ucf101', 8 * 12)]
)
def test_videomae(toy_model, name, count):
    branch = toy_model(BASELINES / f'pretrain_videomae_{name}.py')
    targets = {'pixels': lambda pixels, _: _videomae_target(pixels)}
    _compare(branch, 16, video_table, targets, count)
    # Tubes: every time slot hides the same places.
    hidden = branch.masking(1, (8, 4, 4)).hidden.view(8, -1) % 16
    assert (hidden == hidden[0]).all()


def test_mae_st(toy_model):
    """Agnostic masking; one frame of every tubelet is predicted."""
    branch = toy_model(BASELINES / 'pretrain_mae_st_k400.py')
    chosen = [0, 2, 4, 6, 8, 10, 12, 15]
    targets = {
        'pixels': lambda pixels, _: _mae_target(
            (pixels[:, :, chosen] - 0.45) / 0.225, 1
        )
    }
    _compare(branch, 16, video_table, targets, int(0.9 * 128))
    hidden = branch.masking(1, (8, 4, 4)).hidden[0]
    places = [set((hidden[hidden // 16 == t] % 16).tolist()) for t in range(8)]
    assert any(place != places[0] for place in places)


@pytest.mark.parametrize(('name', 'frames'), [('k400', 32), ('ucf101', 16)])
def test_motionmae(toy_model, name, frames):
    branch = toy_model(BASELINES / f'pretrain_motionmae_{name}.py')
    assert branch.backbone.size[0] == frames
    targets = {
        'pixels': lambda pixels, _: _videomae_target(pixels),
        'motion': lambda pixels, _: _motion_target(pixels),
    }
    _compare(branch, frames, video_table, targets, frames // 2 * 14)
    decoders = [a.decoder for a in branch.head.areas.values()]
    assert decoders[0] is not decoders[1]


def test_deepmim(toy_model):
    branch = toy_model(BASELINES / 'pretrain_deepmim_in1k.py')
    assert branch.head.after_blocks == [6, 8, 10, 12]
    names = [f'level{level}' for level in range(1, 5)]
    # The code has no norms of inner blocks' features.
    assert not [name for name in branch.state_dict() if '.level1.norm' in name]
    target = lambda _, images: _mae_target(images, 1)  # noqa: E731
    _compare(branch, 1, image_table, dict.fromkeys(names, target), 12)


@pytest.mark.parametrize(('frames', 'count'), [(2, 12), (16, 115)])
def test_omnimae(toy_model, frames, count):
    """An image as two frames, 75 % hidden; a clip, 90 % of 128 tokens.

    In faint pictures it counts where epsilon stands.
    """
    branch = randomized(
        toy_model(BASELINES / 'pretrain_omnimae_in1k_k400.py', num_heads=HEADS)
    )
    _compare(
        branch,
        frames,
        video_table,
        {'pixels': lambda pixels, _: _omnimae_target(pixels)},
        count,
        decode=_omnimae_decode,
        contrast=3e-3,
    )


def _localmim_decode(state, name, x, hidden, scale):
    """LocalMIM's code: a decoder on whole maps, (B, Q, 4 s, 6 s)."""
    norm = f'head.areas.{name}.norm'
    x = layer_norm(state, norm, x) if f'{norm}.weight' in state else x
    name = f'head.areas.{name}.decoder'
    x = linear(state, f'{name}.embed', x)
    grid = _whole_grid(x[:, 1:], hidden, state[f'{name}.mask_token'])
    grid = grid + image_table((1, 4, 6), x.shape[-1])
    x = block(state, f'{name}.blocks.0', torch.cat([x[:, :1], grid], 1), HEADS)
    x = layer_norm(state, f'{name}.norm', x[:, 1:])
    x = x.transpose(1, 2).reshape(len(x), -1, 4, 6)

    def enlarge(x, step):
        weight, bias = (state[f'{name}.enlarge.{step}.{k}'] for k in KINDS)
        return F.conv_transpose2d(x, weight, bias, stride=2)

    if scale >= 2:
        x = enlarge(x, 0)
    if scale == 4:
        x = layer_norm(state, f'{name}.enlarge.1', x.movedim(1, -1))
        x = enlarge(F.gelu(x.movedim(-1, 1)), 3)
    if scale == 0.5:
        x = F.avg_pool2d(x, 2)
    return linear(state, f'{name}.pred', x.movedim(1, -1)).movedim(-1, 1)


def test_localmim(toy_model):
    """Four levels on whole maps, squared errors by the share of the mask."""
    branch = toy_model(BASELINES / 'pretrain_localmim_in1k.py')
    branch = randomized(branch)
    pixels = torch.rand(2, 3, 64, 96).mul(255).round() / 255
    clip = (pixels.unsqueeze(2) - MEAN) / STD
    torch.manual_seed(3)
    ours = branch(ClipBatch(clip, pixels.unsqueeze(2)))
    torch.manual_seed(3)
    hidden = torch.zeros(2, 24, dtype=torch.bool)
    hidden.scatter_(1, branch.masking(2, (1, 4, 6)).hidden, True)

    state = dict(branch.named_parameters())
    features = _encode(state, clip, hidden, image_table, {2, 4, 10, 12})
    for level, (after, scale) in enumerate(
        zip((2, 4, 10, 12), (4, 2, 1, 0.5), strict=True), 1
    ):
        maps = _localmim_decode(
            state, f'level{level}', features[after], hidden, scale
        )
        hog = mmpretrain_hog(pixels, cell=int(16 / scale), window=0)
        share = F.interpolate(
            hidden.float().view(2, 1, 4, 6), scale_factor=scale, mode='area'
        )
        error = (maps - hog).square().mean(1, keepdim=True)
        expected = (error * share).sum() / share.sum()
        actual = ours[f'loss_level{level}'].item()
        assert actual == pytest.approx(expected.item(), rel=1e-4)
