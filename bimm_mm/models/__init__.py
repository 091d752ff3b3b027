"""Encoder, masking, decoders, branches and BIMM itself."""

from .bimm import BIMM
from .branch import MaskedBranch
from .decoders import LinearDecoder, TransformerDecoder
from .head import Area, AreaOutput, MultiDecoderHead
from .latent_decoder import LatentDecoder
from .mask_token_vit import MaskTokenViT
from .masking import (
    Masking,
    RandomMasking,
    RunningCell,
    TokenIndices,
    TubeMasking,
)
from .multi_scale_decoder import MultiScaleDecoder
from .regressor import LatentRegressor
from .simple_fpn import SimpleFPN
from .still_masking import StillOrClipMasking
from .token_decoder import TokenDecoder
from .vit import BIMMVisionTransformer
from .vqgan import VQGANTokenizer

__all__ = [
    'BIMM',
    'Area',
    'AreaOutput',
    'BIMMVisionTransformer',
    'LatentDecoder',
    'LatentRegressor',
    'LinearDecoder',
    'MaskTokenViT',
    'MaskedBranch',
    'Masking',
    'MultiDecoderHead',
    'MultiScaleDecoder',
    'RandomMasking',
    'RunningCell',
    'SimpleFPN',
    'StillOrClipMasking',
    'TokenDecoder',
    'TokenIndices',
    'TransformerDecoder',
    'TubeMasking',
    'VQGANTokenizer',
]
