"""How other projects name the weights of a ViT: one table for all."""

from __future__ import annotations

import re

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
_HF: Names = (
    ('patch_embed.proj', 'embeddings.patch_embeddings.projection'),
    ('cls_token', 'embeddings.cls_token'),
    ('mask_token', 'embeddings.mask_token'),
    ('pos_embed', 'embeddings.position_embeddings'),
    ('norm', 'layernorm'),
)
# The names of an encoder, by who uses them. What stands in none of the pairs
# is called the same. Of each file, exactly one of these has to fit.
ENCODERS: dict[str, Names] = {
    'timm, MAE, VideoMAE': (),
    'mmaction2': (_PROJECTION, *_blocks('blocks', 'blocks', _MMACTION_BLOCK)),
    'mmpretrain, mmsegmentation': (
        _PROJECTION,
        ('norm', 'ln1'),
        ('fc_norm', 'ln2'),
        *_blocks('blocks', 'layers', _MMPRETRAIN_BLOCK),
    ),
    # Files of the hub, and of save_pretrained.
    'transformers': (*_HF, *_blocks('blocks', 'encoder.layer', _HF_BLOCK)),
    # What state_dict() says of ViT and ViTMAE from version 5 on.
    'transformers 5': (*_HF, *_blocks('blocks', 'layers', _HF5_BLOCK)),
}
# Patterns and replacements: names that single projects have beside those.
ALIASES = (
    (r'\bpatch_embed\.proj\.1\.', 'patch_embed.proj.'),  # OmniMAE
    (r'(\bblocks\.\d+\.)ls([12])\.gamma$', r'\1gamma_\2'),  # timm
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


def rename(key: str, names: Names, *, to_ours: bool) -> str:
    """Translate a key; one that is in none of the pairs stays."""
    for ours, theirs in names:
        old, new = (theirs, ours) if to_ours else (ours, theirs)
        pattern = re.escape(old).replace(r'\#', r'(\d+)') + r'(?=\.|$)'
        if found := re.match(pattern, key):
            number = found[1] if found.groups() else ''
            return new.replace('#', number) + key[found.end() :]
    return key
