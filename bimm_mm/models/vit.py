"""The one encoder: a vision transformer for images and for videos.

Shapes: B batch, C channels, T frames, H x W pixels; (t, h, w) grid of N
tokens, Nv of them visible; L = N or Nv, plus 1 with a class token; D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bimm_mm.registry import MODELS

from .arch import parse_arch
from .layers import Block
from .patch_embed import PatchEmbed
from .position import position_table
from .readout import check_out_type, readout


@MODELS.register_module()
class BIMMVisionTransformer(BaseModule):
    """Vision transformer with computed positions, tapped after any block.

    Two modes with the same weights. *Masked* (:meth:`encode`): only visible
    tokens enter, features after the chosen blocks come out; for pretraining.
    *Dense* (:meth:`forward`): all tokens enter, a tuple of features comes out
    as from mmpretrain's backbones; for everything downstream.

    Keys are those of timm's ViT. Input of any size that the patch divides
    fits the same weights.

    Args:
        arch (str | dict): ``'tiny'``, ``'small'``, ``'base'``, ``'large'``,
            ``'huge'``, or a dict with ``embed_dims``, ``depth``,
            ``num_heads`` and optionally ``mlp_ratio``. Defaults to
            ``'base'``.
        img_size (int | tuple[int, int]): Usual input in pixels, height and
            width; must be divisible by ``patch_size``. Defaults to 224.
        patch_size (int): Side of a patch in pixels. Defaults to 16.
        num_frames (int): Usual number of frames; more than 1 for a video
            encoder. Defaults to 1.
        tubelet_size (int): Frames of a patch. Defaults to 1.
        in_channels (int): Channels of the input. Defaults to 3.
        with_cls_token (bool): Prepend a class token. Defaults to True.
        key_bias (bool): Give the keys a bias as timm and MAE do; False is
            VideoMAE's form. Defaults to True.
        drop_path_rate (float): Stochastic depth of the last block, in
            [0, 1); it grows linearly from 0 at the first. Defaults to 0.0.
        out_type (str): Dense mode only: ``'cls_token'`` (B, D), ``'avg'``
            (B, D) the mean of the patch tokens, ``'featmap'`` (B, D, h, w)
            the mean over time, ``'featmap3d'`` (B, D, t, h, w) or ``'raw'``
            (B, L, D). Defaults to ``'cls_token'``.
        out_indices (Sequence[int]): Dense mode only: after which blocks,
            counted from 0, or from -1 backwards. Defaults to (-1,).
        with_cp (bool): Recompute each block in the backward pass, which saves
            memory and costs time. Defaults to False.
        init_cfg (dict, optional): See mmengine's ``BaseModule``. Without it
            the weights are those of MAE: Xavier. Defaults to None.
    """

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
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        size = parse_arch(arch)
        self.embed_dims, self.depth, self.num_heads, _ = size
        self.video = tubelet_size > 1 or num_frames > 1
        self.patch = (tubelet_size, patch_size, patch_size)
        self.with_cp = with_cp
        self.out_type = check_out_type(out_type, with_cls_token)
        self.out_taps = [self._tap(index) for index in out_indices]
        if not self.out_taps:
            raise ValueError('out_indices is empty: name at least one block')

        self.patch_embed = PatchEmbed(
            self.embed_dims,
            patch=self.patch,
            in_channels=in_channels,
            video=self.video,
        )
        self.cls_token = None
        if with_cls_token:
            self.cls_token = nn.Parameter(torch.empty(1, 1, self.embed_dims))
            nn.init.normal_(self.cls_token, std=0.02)
        step = drop_path_rate / max(self.depth - 1, 1)
        self.blocks = nn.ModuleList(
            Block(
                self.embed_dims,
                num_heads=self.num_heads,
                mlp_ratio=size.mlp_ratio,
                key_bias=key_bias,
                drop_path=step * index,
            )
            for index in range(self.depth)
        )
        self.norm = nn.LayerNorm(self.embed_dims, eps=1e-6)

        height, width = (
            (img_size, img_size) if isinstance(img_size, int) else img_size
        )
        self.size = (num_frames, height, width)
        # What does not fit is told when the model is built, not later.
        position_table(self.grid(), self.embed_dims, video=self.video)

    def grid(
        self, size: tuple[int, int, int] | None = None
    ) -> tuple[int, int, int]:
        """Tokens in time, height and width (t, h, w).

        Args:
            size (tuple[int, int, int], optional): Frames, height and width
                (T, H, W) of the input. Defaults to None: the usual input.

        Raises:
            ValueError: A side is no positive multiple of the patch's.
        """
        return self.patch_embed.grid(self.size if size is None else size)

    def encode(
        self, x: Tensor, visible: Tensor | None, taps: Sequence[int]
    ) -> dict[int, Tensor]:
        """Features of the visible tokens after the chosen blocks.

        Args:
            x (Tensor): (B, C, T, H, W); T is 1 for images.
            visible (Tensor, optional): (B, Nv), int64, indices of the tokens
                that enter; t is the slowest index, w the fastest. None: all.
            taps (Sequence[int]): After how many blocks, 1..depth. The blocks
                after the last tap are not run.

        Returns:
            dict[int, Tensor]: Tap -> (B, L, D), the class token first; only
            the features after all blocks have passed the final norm.
        """
        self._check_taps(taps)
        x = self._embed(x, visible)
        features = {}
        for tap, block in enumerate(self.blocks[: max(taps)], start=1):
            x = self._run(block, x)
            if tap in taps:
                features[tap] = self.norm(x) if tap == self.depth else x
        return features

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Dense features, one entry per entry of ``out_indices``.

        Args:
            x (Tensor): (B, C, T, H, W), or images (B, C, H, W).

        Returns:
            tuple[Tensor, ...]: Shapes by ``out_type``, see above.
        """
        if x.ndim == 4:
            x = x.unsqueeze(2)
        features = self.encode(x, None, self.out_taps)
        grid = self.grid(x.shape[2:])
        return tuple(
            readout(features[tap], grid, self.out_type)
            for tap in self.out_taps
        )

    def get_layer_depth(
        self, param_name: str, prefix: str = 'backbone.'
    ) -> tuple[int, int]:
        """Where a parameter stands, for layer-wise learning rates.

        Args:
            param_name (str): Name of the parameter.
            prefix (str): What precedes this encoder's names. Defaults to
                ``'backbone.'``.

        Returns:
            tuple[int, int]: 0 for patch embedding and class token, 1..depth
            for the blocks, depth + 1 for the final norm and all that is not
            this encoder's; and the number of levels, depth + 2.
        """
        last = self.depth + 1
        if not param_name.startswith(prefix):
            return last, last + 1
        name = param_name[len(prefix) :]
        if name == 'cls_token' or name.startswith('patch_embed.'):
            return 0, last + 1
        if name.startswith('blocks.'):
            return int(name.split('.')[1]) + 1, last + 1
        return last, last + 1

    def _embed(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """Tokens with their positions, (B, C, T, H, W) -> (B, L, D)."""
        tokens = self.patch_embed(x, visible)
        positions = position_table(
            self.grid(x.shape[2:]),
            self.embed_dims,
            video=self.video,
            device=x.device,
        )
        # The residual stream takes the weights' type: fp32 under autocast.
        positions = positions.to(self.norm.weight.dtype)
        tokens = tokens + (
            positions if visible is None else positions[visible]
        )
        if self.cls_token is None:
            return tokens
        # MAE gives the class token the position 0, so nothing is added.
        cls_token = self.cls_token.expand(len(x), -1, -1)
        return torch.cat([cls_token, tokens], dim=1)

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        if self.with_cp and x.requires_grad:
            return checkpoint(block, x, use_reentrant=False)
        return block(x)

    def _tap(self, index: int) -> int:
        """Block index, from 0 or negative -> number of blocks before it."""
        if not -self.depth <= index < self.depth:
            raise ValueError(
                f'out_indices has {index}, but the encoder has '
                f'{self.depth} blocks: 0..{self.depth - 1} or negative'
            )
        return index % self.depth + 1

    def _check_taps(self, taps: Sequence[int]) -> None:
        if not taps or any(not 1 <= tap <= self.depth for tap in taps):
            raise ValueError(
                f'taps {list(taps)}: give at least one, each in '
                f'1..{self.depth}, the number of blocks'
            )
