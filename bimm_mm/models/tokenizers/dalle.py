"""DALL-E's tokenizer, whose codes BEiT predicts.

Shapes: B pictures, H x W pixels, (h, w) = (H / 16, W / 16) codes, K codes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bimm_mm.models.checkpoints.load import read_state_dict
from bimm_mm.models.tokenizers.base import (
    PICTURES,
    FrozenTokenizer,
    check_file,
)
from bimm_mm.registry import MODELS
from bimm_mm.utils.random_state import torch_seeded


@MODELS.register_module()
class DALLETokenizer(FrozenTokenizer):
    """The encoder of DALL-E's discrete VAE (mmpretrain's), frozen.

    It has one code for 8 x 8 pixels. As BEiT has it, it sees the picture at
    half the size, so that a patch of 16 x 16 pixels has one code. BEiT makes
    that picture from the file (Lanczos); here the one that the encoder sees
    is halved (bicubic, antialiased). On a GPU its convolutions run in
    float16, as in DALL-E's code.

    Args:
        checkpoint: State dict of mmpretrain's ``DALLEEncoder``, such as
            OpenMMLab's ``dalle_encoder.pth``. OpenAI's ``encoder.pkl`` is a
            pickled program and refused. See :class:`FrozenTokenizer`.
        num_codes: K.
        n_hid: Channels of the first layer.
        sha256: See :class:`FrozenTokenizer`.
    """

    stride = 16

    def __init__(
        self,
        checkpoint: str | None,
        *,
        num_codes: int = 8192,
        n_hid: int = 256,
        sha256: str | None = None,
    ) -> None:
        super().__init__(checkpoint, sha256=sha256)
        self.num_codes = num_codes
        encoder = dict(n_hid=n_hid, vocab_size=num_codes)
        with torch_seeded(0):
            self.encoder = MODELS.build(
                dict(encoder, type='mmpretrain.DALL-E')
            )
        self.requires_grad_(False).eval()

    def read(self, path: str) -> dict[str, Tensor]:
        """See :meth:`FrozenTokenizer.read`."""
        hint = "get the encoder of DALL-E, OpenMMLab's dalle_encoder.pth,"
        check_file(path, sha256=self.sha256, hint=hint)
        return {f'encoder.{k}': v for k, v in read_state_dict(path).items()}

    def codebook(self) -> Tensor:
        """Weights of the last layer, (K, 8 * n_hid)."""
        return self.encoder.blocks.output.conv.w.flatten(1)

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """Find the codes (B, h, w), int64, of RGB (B, 3, H, W) in [0, 1]."""
        self.prepare(pictures.device)
        half = F.interpolate(
            pictures.float(), scale_factor=0.5, mode='bicubic', antialias=True
        )
        # DALL-E was trained on pictures in [0.1, 0.9].
        half = 0.8 * half.clamp(0, 1) + 0.1
        return torch.cat(
            [self.encoder(part).argmax(1) for part in half.split(PICTURES)]
        )
