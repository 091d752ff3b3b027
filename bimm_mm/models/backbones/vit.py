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

from bimm_mm.models.backbones.arch import parse_arch
from bimm_mm.models.backbones.readout import check_out_type, readout
from bimm_mm.models.backbones.taps import check_taps, to_taps
from bimm_mm.models.checkpoints.pretrained import load_pretrained
from bimm_mm.models.layers.block import make_blocks
from bimm_mm.models.layers.patch_embed import PatchEmbed
from bimm_mm.models.layers.position import position_table
from bimm_mm.models.layers.windows import Windows, check_windows
from bimm_mm.registry import MODELS


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
            (B, L, D). After the last block the final norm comes in between,
            with ``'avg'`` after the mean, as in MAE and VideoMAE. Defaults
            to ``'cls_token'``.
        out_indices (Sequence[int]): Dense mode only: after which blocks,
            counted from 0, or from -1 backwards. Defaults to (-1,).
        single_output (bool): Dense mode only: return the only feature, no
            tuple, as mmaction2's recognizers expect. Defaults to False.
        interpolate_from (int | tuple[int, int, int], optional): Input of
            pretraining, as pixels of a side, or frames, height and width: its
            position table is interpolated. Defaults to None: the table is
            computed for each input.
        window_size (int): Side, in tokens, of the windows within which
            blocks attend; 0 for global attention. Defaults to 0.
        global_blocks (Sequence[int]): Blocks, from 0, that attend globally
            although there are windows. Defaults to ().
        with_cp (bool): Recompute each block in the backward pass, which saves
            memory and costs time. Defaults to False.
        init_cfg (dict, optional): ``dict(type='Pretrained', checkpoint=...)``
            reads a checkpoint of this project or of a peer as it is, see
            :func:`load_pretrained`. Defaults to None: Xavier, as MAE.
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
        single_output: bool = False,
        interpolate_from: int | tuple[int, int, int] | None = None,
        window_size: int = 0,
        global_blocks: Sequence[int] = (),
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
        self.out_taps = to_taps(out_indices, self.depth, single=single_output)
        self.single_output = single_output
        self.window_size = window_size
        self.global_blocks = check_windows(
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
        )
        self.cls_token = None
        if with_cls_token:
            self.cls_token = nn.Parameter(torch.empty(1, 1, self.embed_dims))
            nn.init.normal_(self.cls_token, std=0.02)
        self.blocks = make_blocks(
            size, key_bias=key_bias, drop_path_rate=drop_path_rate
        )
        self.norm = nn.LayerNorm(self.embed_dims, eps=1e-6)

        height, width = (
            (img_size, img_size) if isinstance(img_size, int) else img_size
        )
        self.size = (num_frames, height, width)
        if isinstance(interpolate_from, int):
            interpolate_from = (num_frames, interpolate_from, interpolate_from)
        self.interpolate_from = interpolate_from
        # What does not fit is told when the model is built, not later.
        self._positions(self.size)

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
        features = self._residuals(x, visible, taps)
        if self.depth in features:
            features[self.depth] = self.norm(features[self.depth])
        return features

    def forward(self, x: Tensor) -> tuple[Tensor, ...] | Tensor:
        """Dense features, one entry per entry of ``out_indices``.

        Args:
            x (Tensor): (B, C, T, H, W), or images (B, C, H, W).

        Returns:
            tuple[Tensor, ...] | Tensor: Shapes by ``out_type``, see above;
            with ``single_output`` the only entry itself.
        """
        if x.ndim == 4:
            x = x.unsqueeze(2)
        features = self._residuals(x, None, self.out_taps)
        grid = self.grid(x.shape[2:])
        outputs = tuple(
            self._read(features[tap], tap, grid) for tap in self.out_taps
        )
        return outputs[0] if self.single_output else outputs

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

    def init_weights(self) -> None:
        """Load what ``init_cfg`` names; the runner calls it."""
        if not self.init_cfg or self.init_cfg['type'] != 'Pretrained':
            super().init_weights()
            return
        # MMEngine's own loading is content with a checkpoint of which
        # nothing fits.
        arguments = {k: v for k, v in self.init_cfg.items() if k != 'type'}
        load_pretrained(self, **arguments)
        self._is_init = True

    def _residuals(
        self, x: Tensor, visible: Tensor | None, taps: Sequence[int]
    ) -> dict[int, Tensor]:
        """Tap -> (B, L, D) before the final norm."""
        check_taps(taps, self.depth)
        if self.window_size and visible is not None:
            raise ValueError(
                'windowed attention needs all tokens: set window_size=0 for '
                'masked input'
            )
        windows = Windows(self.grid(x.shape[2:])[1:], self.window_size or 1)
        x = self._embed(x, visible)
        features = {}
        for index, block in enumerate(self.blocks[: max(taps)]):
            if index in self.global_blocks:
                x = self._run(block, x)
            else:
                real = windows.real(len(x), x.device)
                x = windows.merge(self._run(block, windows.split(x), real))
            if index + 1 in taps:
                features[index + 1] = x
        return features

    def _read(self, x: Tensor, tap: int, grid: tuple[int, int, int]) -> Tensor:
        """Residual stream after ``tap`` blocks -> what a head expects."""
        if tap < self.depth:
            return readout(x, grid, self.out_type)
        if self.out_type == 'avg':
            return self.norm(readout(x, grid, 'avg'))
        return readout(self.norm(x), grid, self.out_type)

    def _positions(
        self, size: Sequence[int], device: torch.device | None = None
    ) -> Tensor:
        """Position table (N, D) of input of the size (T, H, W)."""
        source = self.interpolate_from
        return position_table(
            self.grid(size),
            self.embed_dims,
            video=self.video,
            device=device,
            source=None if source is None else self.grid(source),
        )

    def _embed(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """Tokens with their positions, (B, C, T, H, W) -> (B, L, D)."""
        tokens = self.patch_embed(x, visible)
        positions = self._positions(x.shape[2:], x.device)
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

    def _run(
        self, block: nn.Module, x: Tensor, real: Tensor | None = None
    ) -> Tensor:
        if self.with_cp and x.requires_grad:
            return checkpoint(block, x, None, real, use_reentrant=False)
        return block(x, None, real)
