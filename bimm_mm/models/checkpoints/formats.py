"""How other projects name the weights of a ViT, and what their forms hold.

One table for both directions: :mod:`convert` reads these names,
:mod:`export` writes them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# Our name and theirs of a module or parameter; # is the number of a block.
Names = tuple[tuple[str, str], ...]


def _blocks(ours: str, theirs: str, parts: dict[str, str]) -> Names:
    """Names of what is in every block."""
    return tuple(
        (f'{ours}.#.{one}', f'{theirs}.#.{other}')
        for one, other in parts.items()
    )


_MMPRETRAIN_BLOCK = {
    'norm1': 'ln1',
    'norm2': 'ln2',
    'mlp.fc1': 'ffn.layers.0.0',
    'mlp.fc2': 'ffn.layers.1',
    'attn': 'attn',
    'gamma_1': 'gamma_1',
    'gamma_2': 'gamma_2',
}
_MMACTION_BLOCK = {'mlp.fc1': 'mlp.layers.0.0', 'mlp.fc2': 'mlp.layers.1'}
_HF_BLOCK = {
    'norm1': 'layernorm_before',
    'norm2': 'layernorm_after',
    'attn.q': 'attention.attention.query',
    'attn.k': 'attention.attention.key',
    'attn.v': 'attention.attention.value',
    'attn.q_bias': 'attention.attention.q_bias',
    'attn.v_bias': 'attention.attention.v_bias',
    'attn.proj': 'attention.output.dense',
    'mlp.fc1': 'intermediate.dense',
    'mlp.fc2': 'output.dense',
}
_HF5_BLOCK = {
    'norm1': 'layernorm_before',
    'norm2': 'layernorm_after',
    'attn.q': 'attention.q_proj',
    'attn.k': 'attention.k_proj',
    'attn.v': 'attention.v_proj',
    'attn.proj': 'attention.o_proj',
    'mlp': 'mlp',
}
_PROJECTION = ('patch_embed.proj', 'patch_embed.projection')
_HF_TOP: Names = (
    ('patch_embed.proj', 'embeddings.patch_embeddings.projection'),
    ('cls_token', 'embeddings.cls_token'),
    ('mask_token', 'embeddings.mask_token'),
    ('pos_embed', 'embeddings.position_embeddings'),
    ('norm', 'layernorm'),
)
# The names of an encoder, by who uses them. What stands in none of the pairs
# is called the same. Of each file, exactly one of these has to fit.
TIMM, HF = 'timm, MAE, VideoMAE', 'transformers'
OPENMMLAB = 'mmpretrain, mmsegmentation'
ENCODERS: dict[str, Names] = {
    TIMM: (),
    'mmaction2': (_PROJECTION, *_blocks('blocks', 'blocks', _MMACTION_BLOCK)),
    OPENMMLAB: (
        _PROJECTION,
        ('norm', 'ln1'),
        ('fc_norm', 'ln2'),
        *_blocks('blocks', 'layers', _MMPRETRAIN_BLOCK),
    ),
    # Files of the hub, and of save_pretrained.
    HF: (*_HF_TOP, *_blocks('blocks', 'encoder.layer', _HF_BLOCK)),
    # What state_dict() says of ViT and ViTMAE from version 5 on.
    'transformers 5': (*_HF_TOP, *_blocks('blocks', 'layers', _HF5_BLOCK)),
}
# Patterns and replacements: names that single projects have beside those.
ALIASES = (
    (r'\bpatch_embed\.proj\.1\.', 'patch_embed.proj.'),  # OmniMAE
    (r'(\bblocks\.\d+\.)ls([12])\.gamma$', r'\1gamma_\2'),  # timm
    # ViTMAE's decoder, as save_pretrained of transformers 5 has it.
    (r'\bdecoder_encoder\.layer\.', 'decoder_layers.'),
    (r'(^|\.)norm\.3\.(?=\w+$)', r'\1norm.'),  # LocalMIM, the last of four
    # MaskFeat's encoder gave its norm to the head.
    (r'(^|\.)pred_head\.transforms\.0\.0\.(?=\w+$)', r'\1norm.'),
)
# What may be left out of these: it is no part of the encoder.
FOREIGN = re.compile(
    r'((decoder|dec|encoder_to_decoder|head|fc_norm|pred_head|hogs|hog_enc)'
    r'|decoder_\w+|down_(img|vid)|pooler|norm\.[0-2]'
    r'|pos_embed|pos_embed_\w+|dec_pos_embed\w*|mask_token\w*)(\..*)?'
    r'|.*\.relative_position_(index|bias_table)'
)


# Of the pixels that decoders predict, by whether these are videos.
PIXEL_NORM = {True: 'videomae', False: 'mae'}


class Format(NamedTuple):
    """A form that :func:`bimm_mm.apis.convert.convert_checkpoint` writes.

    Those of videos have no class token, no bias of keys and none between
    encoder and decoder, as VideoMAE.
    """

    names: str  # key of ENCODERS
    video: bool
    decoder: Names = ()  # none if the form has no place for one
    prefix: str = ''  # before the names of the encoder
    container: str = ''  # key of .pth files that holds the weights
    mae: bool = False  # needs a class token and square pictures
    table: bool = True  # whether positions are part of the file
    head: str = 'head'  # the classifier's name; none if there is no place

    @property
    def split_qkv(self) -> bool:
        """Whether q, k and v are layers of their own."""
        return self.names == HF


_MAE: Names = (
    ('decoder.embed', 'decoder_embed'),
    ('decoder.mask_token', 'mask_token'),
    ('decoder.pos_embed', 'decoder_pos_embed'),
    ('decoder.norm', 'decoder_norm'),
    ('decoder.pred', 'decoder_pred'),
    ('decoder.blocks', 'decoder_blocks'),
)
_VIDEOMAE: Names = (
    ('decoder.embed', 'encoder_to_decoder'),
    ('decoder.mask_token', 'mask_token'),
    ('decoder.pred', 'decoder.head'),
)
# Of two pairs that fit, the first counts.
_HF_LAYERS = _blocks('decoder.blocks', 'decoder.decoder_layers', _HF_BLOCK)
_HF_MAE: Names = (*_HF_LAYERS, *((a, f'decoder.{b}') for a, b in _MAE))
_MMPRETRAIN: Names = (
    ('decoder.norm', 'neck.ln1'),
    *_blocks('decoder.blocks', 'neck.decoder_blocks', _MMPRETRAIN_BLOCK),
    *((a, f'neck.{b}') for a, b in _MAE),
)
FORMATS = {
    'mae': Format(TIMM, False, _MAE, container='model', mae=True),
    'videomae': Format(
        TIMM, True, _VIDEOMAE, 'encoder.', 'model', table=False
    ),
    'timm': Format(TIMM, False),
    'hf-videomae': Format(
        HF,
        True,
        (*_VIDEOMAE, *_HF_LAYERS),
        'videomae.',
        table=False,
        head='classifier',
    ),
    'hf-vitmae': Format(HF, False, _HF_MAE, 'vit.', mae=True, head=''),
    'mmaction2': Format(
        'mmaction2',
        True,
        (),
        'backbone.',
        'state_dict',
        head='cls_head.fc_cls',
    ),
    'mmpretrain': Format(
        OPENMMLAB,
        False,
        _MMPRETRAIN,
        'backbone.',
        'state_dict',
        head='head.fc',
    ),
}


def rename(key: str, names: Names, *, to_ours: bool) -> str:
    """Translate a key; one that is in none of the pairs stays."""
    for ours, theirs in names:
        old, new = (theirs, ours) if to_ours else (ours, theirs)
        pattern = re.escape(old).replace(r'\#', r'(\d+)') + r'(?=\.|$)'
        if found := re.match(pattern, key):
            number = found[1] if found.groups() else ''
            return new.replace('#', number) + key[found.end() :]
    return key
