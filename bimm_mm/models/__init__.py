"""Encoder, masking, decoders, branches and BIMM itself."""

from bimm_mm.models.backbones.mask_token_vit import MaskTokenViT
from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.models.decoders.cross import CrossDecoder
from bimm_mm.models.decoders.multi_scale import MultiScaleDecoder
from bimm_mm.models.decoders.transformer import (
    Decoder,
    LatentDecoder,
    LinearDecoder,
    TokenDecoder,
    TransformerDecoder,
)
from bimm_mm.models.masking import (
    BlockMasking,
    ImageOrVideoMasking,
    Masking,
    RandomMasking,
    TubeMasking,
)
from bimm_mm.models.necks.latent_regressor import LatentRegressor
from bimm_mm.models.necks.simple_fpn import SimpleFPN
from bimm_mm.models.pretrainers.area import Area, MultiDecoderHead
from bimm_mm.models.pretrainers.bimm import BIMM
from bimm_mm.models.pretrainers.masked_branch import (
    BasePretrainer,
    MaskedBranch,
)
from bimm_mm.models.tokenizers.dalle import DALLETokenizer
from bimm_mm.models.tokenizers.vqgan import VQGANTokenizer

__all__ = [
    'BIMM',
    'Area',
    'BIMMVisionTransformer',
    'BasePretrainer',
    'BlockMasking',
    'CrossDecoder',
    'DALLETokenizer',
    'Decoder',
    'ImageOrVideoMasking',
    'LatentDecoder',
    'LatentRegressor',
    'LinearDecoder',
    'MaskTokenViT',
    'MaskedBranch',
    'Masking',
    'MultiDecoderHead',
    'MultiScaleDecoder',
    'RandomMasking',
    'SimpleFPN',
    'TokenDecoder',
    'TransformerDecoder',
    'TubeMasking',
    'VQGANTokenizer',
]
