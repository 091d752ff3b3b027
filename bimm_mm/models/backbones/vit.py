"""The one encoder: a vision transformer for images and for videos.

Shapes: B batch, C channels, T frames, H x W pixels; (t, h, w) grid of N
tokens, Nv of them visible; L = N or Nv, plus 1 with a class token, which
stands first; D embed_dims.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bimm_mm.models.checkpoints.load import load_pretrained
from bimm_mm.models.layers.transformer import (
    Block,
    PatchEmbed,
    draw_qkv_apart,
    position_table,
    resize_table,
)
from bimm_mm.models.layers.windows import (
    window_mask,
    window_partition,
    window_unpartition,
    windowed_blocks,
)
from bimm_mm.registry import MODELS
from bimm_mm.structures import Size, size_of
from bimm_mm.utils.choices import check_choice

OUT_TYPES = ('cls_token', 'avg', 'featmap', 'featmap3d', 'raw')


class Arch(NamedTuple):
    """Size of an encoder."""

    embed_dims: int  # D
    depth: int  # number of blocks
    num_heads: int  # must divide the width
    mlp_ratio: float = 4.0  # hidden width of the MLPs over D


ARCHS = {
    'tiny': Arch(192, 12, 3),
    'small': Arch(384, 12, 6),
    'base': Arch(768, 12, 12),
    'large': Arch(1024, 24, 16),
    'huge': Arch(1280, 32, 16),
}


@MODELS.register_module()
class BIMMVisionTransformer(BaseModule):
    """Vision transformer with computed positions, read after any block.

    Two modes with the same weights. *Masked* (:meth:`encode`): only visible
    tokens enter, features after the chosen blocks come out; for pretraining.
    *Dense* (:meth:`forward`): all tokens enter, a tuple of features comes out
    as from mmpretrain's backbones; for everything downstream.

    Keys are those of timm's ViT. Input of any size that the patch divides
    fits the same weights.

    Args:
        arch: ``'tiny'``, ``'small'``, ``'base'``, ``'large'``, ``'huge'``, or
            a dict with ``embed_dims``, ``depth``, ``num_heads`` and
            optionally ``mlp_ratio``.
        img_size: Usual input in pixels, height and width; must be divisible
            by ``patch_size``.
        patch_size: Side of a patch in pixels.
        num_frames: Usual number of frames; more than 1 for a video encoder.
        tubelet_size: Frames of a patch.
        in_channels: Channels of the input.
        with_cls_token: Whether a class token comes first.
        key_bias: Whether the keys have a bias, as in timm and MAE; False is
            VideoMAE's form.
        drop_path_rate: Stochastic depth of the last block, in [0, 1); it
            grows linearly from 0 at the first.
        out_type: Dense mode only: ``'cls_token'`` (B, D), ``'avg'`` (B, D)
            the mean of the patch tokens, ``'featmap'`` (B, D, h, w) the mean
            over time, ``'featmap3d'`` (B, D, t, h, w) or ``'raw'`` (B, L, D).
            After the last block the final norm comes in between, with
            ``'avg'`` after the mean, as in MAE and VideoMAE.
        out_indices: Dense mode only: after which blocks, counted from 0, or
            from -1 backwards.
        single_output: Dense mode only: return the only feature, no tuple, as
            mmaction2's recognizers expect.
        interpolate_from: Input of pretraining, as pixels of a side, or
            frames, height and width: its position table is interpolated. If
            None, the table is computed for each input.
        learned_positions: Whether the positions are a parameter, ``pos_embed``
            (1, N, D), which starts from the computed table. For checkpoints
            whose positions were trained, and to finetune as MAE does; it
            belongs to one size of input, and others interpolate it.
        window_size: Side, in tokens, of the windows within which blocks
            attend; 0 for global attention.
        global_blocks: Blocks, from 0, that attend globally although there
            are windows.
        with_cp: Whether each block is recomputed in the backward pass, which
            saves memory and costs time.
        init_like: ``'xavier'``, ``'mae'``, ``'mae_st'`` or ``'videomae'``:
            whose initial weights the patch embedding has, see
            :class:`PatchEmbed`; of MAE-ST, queries, keys and values are drawn
            apart.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` reads a
            checkpoint of this project or of a peer as it is, see
            :func:`load_pretrained`. If None, see ``init_like``.
    """

    # Whether there is a token for hidden patches, see MaskTokenViT.
    with_mask_token = False

    def __init__(
        self,
        arch: str | dict = 'base',
        *,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        num_frames: int = 1,
        tubelet_size: int = 1,
        in_channels: int = 3,
        with_cls_token: bool = True,
        key_bias: bool = True,
        drop_path_rate: float = 0.0,
        out_type: str = 'cls_token',
        out_indices: Sequence[int] = (-1,),
        single_output: bool = False,
        interpolate_from: int | Size | None = None,
        learned_positions: bool = False,
        window_size: int = 0,
        global_blocks: Sequence[int] = (),
        with_cp: bool = False,
        init_like: str = 'xavier',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        known = ('xavier', 'mae', 'mae_st', 'videomae')
        check_choice('init_like', init_like, known)
        self.embed_dims, self.depth, self.num_heads, mlp_ratio = _sizes(arch)
        self.key_bias = key_bias
        # Video encoders have a Conv3d and VideoMAE's table of positions.
        self.video = tubelet_size > 1 or num_frames > 1
        self.patch = (tubelet_size, patch_size, patch_size)
        self.with_cp = with_cp
        self.out_type = _check_out_type(out_type, with_cls_token)
        self.out_indices = _resolve_indices(
            out_indices, self.depth, single=single_output
        )
        self.single_output = single_output
        self.window_size = window_size
        self.windowed_blocks = windowed_blocks(
            window_size,
            global_blocks,
            depth=self.depth,
            with_cls_token=with_cls_token,
            video=self.video,
        )

        self.patch_embed = PatchEmbed(
            self.embed_dims,
            patch=self.patch,
            in_channels=in_channels,
            video=self.video,
            init_like=init_like,
        )
        self.cls_token = None
        if with_cls_token:
            self.cls_token = nn.Parameter(torch.empty(1, 1, self.embed_dims))
            nn.init.normal_(self.cls_token, std=0.02)
        # Stochastic depth grows linearly from 0 at the first block.
        step = drop_path_rate / max(self.depth - 1, 1)
        self.blocks = nn.ModuleList(
            Block(
                self.embed_dims,
                num_heads=self.num_heads,
                mlp_ratio=mlp_ratio,
                key_bias=key_bias,
                drop_path=step * index,
            )
            for index in range(self.depth)
        )
        if init_like == 'mae_st':
            draw_qkv_apart(self.blocks)
        self.norm = nn.LayerNorm(self.embed_dims, eps=1e-6)
        if self.with_mask_token:
            self.mask_token = nn.Parameter(torch.empty(1, 1, self.embed_dims))
            nn.init.normal_(self.mask_token, std=0.02)

        height, width = (
            (img_size, img_size) if isinstance(img_size, int) else img_size
        )
        # Input may have another size; this one is checked and reported.
        self.size = (num_frames, height, width)
        if isinstance(interpolate_from, int):
            interpolate_from = (num_frames, interpolate_from, interpolate_from)
        self.interpolate_from = interpolate_from
        # A size that does not fit fails now, when the model is built.
        self.pos_embed: nn.Parameter | None = None
        self._positions(self.size)
        if learned_positions:
            table = self._positions(interpolate_from or self.size)
            self.pos_embed = nn.Parameter(table[None].clone())

    def grid(self, size: Size | None = None) -> Size:
        """Count the tokens (t, h, w) of input of a size (T, H, W).

        That is the usual input's if None. See :meth:`PatchEmbed.grid`.
        """
        return self.patch_embed.grid(self.size if size is None else size)

    def encode(
        self, x: Tensor, visible: Tensor | None, after_blocks: Sequence[int]
    ) -> dict[int, Tensor]:
        """Compute features of the visible tokens after the chosen blocks.

        Args:
            x: (B, C, T, H, W); T is 1 for images.
            visible: (B, Nv), int64, indices of the tokens that enter; t is
                the slowest index, w the fastest. All if None.
            after_blocks: After how many blocks, 1..depth. The blocks after
                the last one asked for are not run.

        Returns:
            (B, L, D) by number of blocks, the class token first; only the
            features after all blocks have passed the final norm.
        """
        features = self._residuals(x, visible, after_blocks)
        # Inner blocks give the residual stream; areas have their own norm.
        if self.depth in features:
            features[self.depth] = self.norm(features[self.depth])
        return features

    def forward(self, x: Tensor) -> tuple[Tensor, ...] | Tensor:
        """Compute dense features, one entry per entry of ``out_indices``.

        Input is (B, C, T, H, W), or images (B, C, H, W). Shapes of the output
        are those of ``out_type``; with ``single_output`` it is the only entry
        itself.
        """
        # Blocks are counted from 0 outside and by how many have run inside.
        after_blocks = [index + 1 for index in self.out_indices]
        outputs = self.read(x, after_blocks, self.out_type)
        return outputs[0] if self.single_output else outputs

    def read(
        self, x: Tensor, after_blocks: Sequence[int], out_type: str
    ) -> tuple[Tensor, ...]:
        """Compute dense features after the chosen blocks, 1..depth.

        Input and ``out_type`` are as in :meth:`forward`.
        """
        if x.ndim == 4:
            x = x.unsqueeze(2)
        features = self._residuals(
            x, None, after_blocks, only_class=out_type == 'cls_token'
        )
        grid = self.grid(size_of(x))
        return tuple(
            self._read(features[count], count, grid, out_type)
            for count in after_blocks
        )

    def get_layer_depth(
        self, param_name: str, prefix: str = 'backbone.'
    ) -> tuple[int, int]:
        """Tell where a parameter stands, for layer-wise learning rates.

        Of names that begin with ``prefix``: 0 for patch embedding, class
        token and positions, 1..depth for the blocks; depth + 1 for the final
        norm and all that is not this encoder's. The second number is that of
        levels.
        """
        # As mmpretrain counts: 0 is the embedding, the head is the last.
        last = self.depth + 1
        if param_name.startswith(prefix):
            name = param_name[len(prefix) :]
            if name.startswith(('cls_token', 'pos_embed', 'patch_embed.')):
                return 0, last + 1
            if name.startswith('blocks.'):
                return int(name.split('.')[1]) + 1, last + 1
        return last, last + 1

    def init_weights(self) -> None:
        """Load what ``init_cfg`` names; the runner calls it."""
        given = self.init_cfg
        if not isinstance(given, dict) or given['type'] != 'Pretrained':
            super().init_weights()
            return
        # MMEngine's own loading is content with a checkpoint of which
        # nothing fits.
        arguments = {k: v for k, v in given.items() if k != 'type'}
        load_pretrained(self, **arguments)
        self._is_init = True

    def _residuals(
        self,
        x: Tensor,
        visible: Tensor | None,
        after_blocks: Sequence[int],
        *,
        only_class: bool = False,
    ) -> dict[int, Tensor]:
        """Compute the residual stream (B, L, D) after the chosen blocks.

        With ``only_class`` it is (B, 1, D) after the last of them.
        """
        if not after_blocks or not all(
            1 <= count <= self.depth for count in after_blocks
        ):
            raise ValueError(
                f'after_blocks={list(after_blocks)}: give at least one, each '
                f'in 1..{self.depth}, the number of blocks'
            )
        if self.window_size and visible is not None:
            raise ValueError(
                'windowed attention needs all tokens: set window_size=0 for '
                'masked input'
            )
        grid = self.grid(size_of(x))
        x = self._embed(x, visible)
        features = {}
        # Blocks that nobody reads are not run.
        last = max(after_blocks)
        for index, block in enumerate(self.blocks[:last]):
            if index in self.windowed_blocks:
                x = self._run_in_windows(block, x, grid[1:])
            elif only_class and index + 1 == last:
                # A block can update its last tokens alone.
                x = self._run(block, x.roll(-1, 1), 1)
            else:
                x = self._run(block, x)
            if index + 1 in after_blocks:
                features[index + 1] = x
        return features

    def _embed(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """Tokens with their positions, (B, C, T, H, W) to (B, L, D)."""
        tokens = self.patch_embed(x, visible)
        positions = self._positions(size_of(x), x.device)
        # The residual stream takes the weights' type: fp32 under autocast.
        positions = positions.to(self.norm.weight.dtype)
        tokens = tokens + (
            positions if visible is None else positions[visible]
        )
        if self.cls_token is None:
            return tokens
        # MAE gives the class token the position 0, so nothing is added.
        cls_token = self.cls_token.expand(x.shape[0], -1, -1)
        return torch.cat([cls_token, tokens], dim=1)

    def _positions(
        self, size: Size, device: torch.device | None = None
    ) -> Tensor:
        """Position table (N, D) of input of the size (T, H, W)."""
        grid, source = self.grid(size), self.interpolate_from
        if self.pos_embed is not None:
            return resize_table(self.pos_embed[0], self.grid(source), grid)
        return position_table(
            grid,
            self.embed_dims,
            video=self.video,
            device=device,
            source=None if source is None else self.grid(source),
        )

    def _run(self, block: nn.Module, x: Tensor, *options: Any) -> Tensor:
        """Run a block, with or without keeping what it computes inside."""
        # Where no gradient is asked for, there is nothing to recompute.
        if self.with_cp and x.requires_grad:
            return checkpoint(block, x, *options, use_reentrant=False)
        return block(x, *options)

    def _run_in_windows(
        self, block: nn.Module, x: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """Run a block within windows of a grid (h, w); (B, N, D)."""
        mask = window_mask(
            grid, self.window_size, batch=x.shape[0], device=x.device
        )
        windows = window_partition(x, grid, self.window_size)
        windows = self._run(block, windows, None, mask)
        return window_unpartition(windows, grid, self.window_size)

    def _read(
        self, x: Tensor, count: int, grid: Size, out_type: str
    ) -> Tensor:
        """Turn the residual stream after ``count`` blocks into features."""
        if count < self.depth:
            return _readout(x, grid, out_type)
        # MAE and VideoMAE finetune with the norm after the mean.
        if out_type == 'avg':
            return self.norm(_readout(x, grid, 'avg'))
        return _readout(self.norm(x), grid, out_type)


def _sizes(arch: str | dict) -> Arch:
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise ValueError(
                f'unknown arch {arch!r}: choose from {", ".join(ARCHS)}, or '
                f'give a dict of {", ".join(Arch._fields)}'
            )
        return ARCHS[arch]
    return Arch(**arch)


def _check_out_type(out_type: str, with_cls_token: bool) -> str:
    """Return ``out_type`` if an encoder can hand it out."""
    check_choice('out_type', out_type, OUT_TYPES)
    if out_type == 'cls_token' and not with_cls_token:
        raise ValueError(
            "out_type='cls_token' needs with_cls_token=True; without it "
            "choose 'avg', 'featmap', 'featmap3d' or 'raw'"
        )
    return out_type


def _resolve_indices(
    out_indices: Sequence[int], depth: int, *, single: bool
) -> list[int]:
    """Count those given from -1 backwards from 0, too."""
    if single and len(out_indices) > 1:
        raise ValueError(
            f'single_output=True, but out_indices={list(out_indices)} asks '
            'for several: name one block'
        )
    for index in out_indices:
        if not -depth <= index < depth:
            raise ValueError(
                f'out_indices has {index}, but the encoder has {depth} '
                f'blocks: 0..{depth - 1} or negative'
            )
    return [index % depth for index in out_indices]


def _readout(tokens: Tensor, grid: Size, out_type: str) -> Tensor:
    """Bring tokens (B, L, D) into the form that ``out_type`` names."""
    if out_type == 'raw':
        return tokens
    if out_type == 'cls_token':
        return tokens[:, 0]
    # Without the class token, which stands first.
    patches = tokens[:, tokens.shape[1] - math.prod(grid) :]
    if out_type == 'avg':
        return patches.mean(1)
    # Channels before places: (B, N, D) to (B, D, t, h, w).
    maps = patches.transpose(1, 2).unflatten(2, grid)
    return maps if out_type == 'featmap3d' else maps.mean(2)
