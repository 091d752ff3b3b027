"""A VQGAN as tokenizer: pictures to codes.

Shapes: B pictures, H x W pixels, f the stride, (h, w) = (H / f, W / f) codes,
K codes of Z numbers each, n latents.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from bimm_mm.models.checkpoints.checkpoint import load_fully
from bimm_mm.models.tokenizers.vqgan_encoder import VQGANEncoder
from bimm_mm.models.tokenizers.vqgan_file import read_vqgan
from bimm_mm.registry import MODELS

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}


@MODELS.register_module()
class VQGANTokenizer(nn.Module):
    """Encoder and codebook of a trained VQGAN, frozen.

    The defaults are those of ``vqgan_imagenet_f16_1024`` of
    taming-transformers; ``vqgan_imagenet_f16_16384`` has ``num_codes=16384``.
    Weights are read at the first use, so that a config builds where the file
    is not.

    Args:
        checkpoint (str, optional): A checkpoint of taming-transformers, or
            its state dict: keys ``encoder.*``, ``quant_conv.*`` and
            ``quantize.embedding.weight``, others are ignored. None leaves
            random weights, always the same, and says so: for tests only.
        num_codes (int): Size K of the codebook. Defaults to 1024.
        code_dims (int): Numbers Z of a code. Defaults to 256.
        ch (int): See :class:`VQGANEncoder`, as all down to ``z_channels``.
            Defaults to 128.
        ch_mult (Sequence[int]): Defaults to (1, 1, 2, 2, 4), a stride of 16.
        num_res_blocks (int): Defaults to 2.
        attn_resolutions (Sequence[int]): Defaults to (16,).
        resolution (int): Defaults to 256. Pictures of any size fit.
        z_channels (int): Defaults to 256.
        sha256 (str, optional): What the file's SHA-256 must be, 64
            hexadecimal digits. Defaults to None: not checked.
        dtype (str): Of the encoder, ``'float32'`` or ``'bfloat16'``; codes
            are compared in fp32 in any case. Defaults to ``'float32'``.
        chunk (int): How many pictures are encoded at once, which bounds the
            memory. Defaults to 32.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        checkpoint: str | None,
        *,
        num_codes: int = 1024,
        code_dims: int = 256,
        ch: int = 128,
        ch_mult: Sequence[int] = (1, 1, 2, 2, 4),
        num_res_blocks: int = 2,
        attn_resolutions: Sequence[int] = (16,),
        resolution: int = 256,
        z_channels: int = 256,
        sha256: str | None = None,
        dtype: str = 'float32',
        chunk: int = 32,
    ) -> None:
        super().__init__()
        if dtype not in DTYPES:
            raise ValueError(
                f'VQGANTokenizer: dtype={dtype!r} is unknown, choose one of '
                f'{list(DTYPES)}'
            )
        if chunk < 1:
            raise ValueError(f'VQGANTokenizer: chunk={chunk} must be positive')
        self.checkpoint = checkpoint
        self.sha256 = sha256
        self.dtype = DTYPES[dtype]
        self.chunk = chunk
        self.num_codes = num_codes
        self.stride = 2 ** (len(ch_mult) - 1)
        # Random weights are no part of the run: a resumed run and every rank
        # need the same ones, and the run's own numbers go on untouched.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.encoder = VQGANEncoder(
                ch,
                ch_mult=ch_mult,
                num_res_blocks=num_res_blocks,
                attn_resolutions=attn_resolutions,
                resolution=resolution,
                z_channels=z_channels,
            )
            self.quant_conv = nn.Conv2d(z_channels, code_dims, 1)
            self.quantize = nn.ModuleDict(
                dict(embedding=nn.Embedding(num_codes, code_dims))
            )
        self.requires_grad_(False).eval()
        self._loaded = False

    def load(self) -> None:
        """Read the checkpoint, unless that was done already.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is another file than ``sha256`` names, cannot be
                read safely, or is of another architecture.
        """
        if self._loaded:
            return
        if self.checkpoint is None:
            print_log(
                'VQGANTokenizer(checkpoint=None): random weights, the codes '
                'mean nothing; for tests only',
                'current',
                logging.WARNING,
            )
        else:
            state = read_vqgan(self.checkpoint, sha256=self.sha256)
            load_fully(
                self, state, what='the tokenizer', source=self.checkpoint
            )
        self._loaded = True

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """Codes of pictures.

        Args:
            pictures (Tensor): (B, 3, H, W), RGB in [0, 1]; H and W are
                multiples of the stride.

        Returns:
            Tensor: (B, h, w), int64, in 0..K - 1.

        Raises:
            ValueError: If the stride does not divide the pictures. See
                :meth:`load` too.
        """
        height, width = pictures.shape[2:]
        if height % self.stride or width % self.stride:
            raise ValueError(
                f'pictures of {height} x {width} pixels cannot be cut into '
                f'codes of {self.stride} x {self.stride}: choose a size that '
                f'is a multiple of {self.stride}'
            )
        self.load()
        # Not a part of any training module: it follows the pictures.
        self.to(pictures.device)
        with torch.autocast(
            pictures.device.type,
            dtype=torch.bfloat16,
            enabled=self.dtype is torch.bfloat16,
        ):
            codes = [
                self.nearest(self.quant_conv(self.encoder(2 * part - 1)))
                for part in pictures.float().split(self.chunk)
            ]
        return torch.cat(codes)

    def nearest(self, latents: Tensor) -> Tensor:
        """Code nearest to each latent.

        Args:
            latents (Tensor): (B, Z, h, w).

        Returns:
            Tensor: (B, h, w), int64.
        """
        codebook = self.quantize['embedding'].weight
        flat = latents.movedim(1, -1).reshape(-1, latents.shape[1])
        with torch.autocast(latents.device.type, enabled=False):
            # |z - e|^2 without |z|^2, which is the same for all codes.
            distance = torch.addmm(
                codebook.square().sum(1), flat.float(), codebook.T, alpha=-2
            )
        nearest = distance.argmin(dim=1)
        return nearest.view(len(latents), *latents.shape[2:])

    def colors(self) -> Tensor:
        """A color for each code, for pictures: (K, 3), in [0, 1].

        The first three principal components of the codebook, so that similar
        codes look alike.
        """
        self.load()
        codes = self.quantize['embedding'].weight.float()
        centered = codes - codes.mean(0)
        _, _, axes = torch.linalg.svd(centered, full_matrices=False)
        score = F.pad(centered @ axes[:3].T, (0, max(3 - len(axes), 0)))
        rank = score.argsort(dim=0).argsort(dim=0)
        return rank / max(len(rank) - 1, 1)
