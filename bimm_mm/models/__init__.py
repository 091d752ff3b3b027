"""Encoder, masking, decoders, branches and BIMM itself."""

from .bimm import BIMM
from .branch import MaskedBranch
from .decoders import LinearDecoder, TransformerDecoder
from .head import Area, AreaOutput, MultiDecoderHead
from .masking import Masking, RandomMasking, TokenIndices, TubeMasking
from .simple_fpn import SimpleFPN
from .vit import BIMMVisionTransformer

__all__ = [
    'BIMM',
    'Area',
    'AreaOutput',
    'BIMMVisionTransformer',
    'LinearDecoder',
    'MaskedBranch',
    'Masking',
    'MultiDecoderHead',
    'RandomMasking',
    'SimpleFPN',
    'TokenIndices',
    'TransformerDecoder',
    'TubeMasking',
]
