"""An encoder in which mask tokens stand for hidden patches: MaskFeat.

Shapes: B batch, N tokens, Nv visible, L = N plus 1 with a class token, D
width.

Matches the paper: the encoder of MaskFeat (and of BEiT and SimMIM) but for
its position table, which is learned there and computed here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.registry import MODELS
from bimm_mm.structures import size_of


@MODELS.register_module()
class MaskTokenViT(BIMMVisionTransformer):
    """A :class:`BIMMVisionTransformer` that runs on all tokens when masked.

    Its weights but ``mask_token`` are those of its base class, with which
    they are finetuned.

    Args:
        arch: As of the base class, like all that follow.
        img_size:
        patch_size:
        num_frames:
        tubelet_size:
        with_cls_token:
        key_bias:
        drop_path_rate:
        with_cp:
    """

    def __init__(
        self,
        arch: str | dict = 'base',
        *,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        num_frames: int = 1,
        tubelet_size: int = 1,
        with_cls_token: bool = True,
        key_bias: bool = True,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
    ) -> None:
        super().__init__(
            arch,
            img_size=img_size,
            patch_size=patch_size,
            num_frames=num_frames,
            tubelet_size=tubelet_size,
            with_cls_token=with_cls_token,
            key_bias=key_bias,
            drop_path_rate=drop_path_rate,
            out_type='cls_token' if with_cls_token else 'avg',
            with_cp=with_cp,
        )
        self.mask_token = nn.Parameter(torch.empty(1, 1, self.embed_dims))
        nn.init.normal_(self.mask_token, std=0.02)

    def _embed(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """All tokens (B, L, D), with their positions; the mask for hidden."""
        # Unlike MAE, hidden patches enter: as one learned token, at their
        # own positions.
        tokens = super()._embed(x, None)
        if visible is None:
            return tokens
        positions = self._positions(size_of(x), x.device)
        blank = (self.mask_token + positions).to(tokens.dtype)
        # True at hidden tokens: (B, N, 1).
        count = positions.shape[0]
        hidden = torch.ones(len(x), count, 1, dtype=torch.bool)
        hidden = hidden.to(x.device).scatter(1, visible.unsqueeze(2), False)
        patches = torch.where(hidden, blank, tokens[:, -count:])
        return torch.cat([tokens[:, :-count], patches], dim=1)
