"""An encoder that runs on mask tokens, too.

Shapes as in ``vit.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.registry import MODELS
from bimm_mm.structures import size_of


@MODELS.register_module()
class MaskTokenViT(BIMMVisionTransformer):
    """A :class:`BIMMVisionTransformer` that runs on all tokens when masked.

    The encoder of MaskFeat (and of BEiT and SimMIM) but for its position
    table, which is learned there and computed here. Options are those of the
    base class, and so are all weights but ``mask_token``: what is pretrained
    here is finetuned there.
    """

    with_mask_token = True

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
        hidden = torch.ones(
            x.shape[0], count, 1, dtype=torch.bool, device=x.device
        ).scatter(1, visible.unsqueeze(2), 0)
        patches = torch.where(hidden, blank, tokens[:, -count:])
        return torch.cat([tokens[:, :-count], patches], dim=1)
