"""Naming schemes of vision transformers: one table from theirs to ours."""

from __future__ import annotations

from typing import NamedTuple

Rules = tuple[tuple[str, str], ...]


class Scheme(NamedTuple):
    """How a family of projects names the parameters of a ViT.

    Attributes:
        name (str): Who uses it.
        marker (str): The key by which it is recognised.
        also (str): A key that must be there as well.
        rules (Rules): Patterns and their replacements; the first that
            matches is applied.
    """

    name: str
    marker: str
    also: str
    rules: Rules


_OPENMMLAB_LAYERS: Rules = (
    (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
    (r'^layers\.(\d+)\.ln([12])\.', r'blocks.\1.norm\2.'),
    (r'^layers\.(\d+)\.attn\.', r'blocks.\1.attn.'),
    (r'^layers\.(\d+)\.ffn\.layers\.0\.0\.', r'blocks.\1.mlp.fc1.'),
    (r'^layers\.(\d+)\.ffn\.layers\.1\.', r'blocks.\1.mlp.fc2.'),
    (r'^layers\.(\d+)\.(gamma_[12])$', r'blocks.\1.\2'),
    (r'^ln1\.', 'norm.'),
    (r'^ln2\.', 'fc_norm.'),
)
_MMACTION: Rules = (
    (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
    (r'\.mlp\.layers\.0\.0\.', '.mlp.fc1.'),
    (r'\.mlp\.layers\.1\.', '.mlp.fc2.'),
)
_LAYER = r'^encoder\.layer\.(\d+)\.'
_SELF = _LAYER + r'attention\.attention\.'
_TRANSFORMERS: Rules = (
    (r'^embeddings\.patch_embeddings\.projection\.', 'patch_embed.proj.'),
    (_LAYER + r'layernorm_before\.', r'blocks.\1.norm1.'),
    (_LAYER + r'layernorm_after\.', r'blocks.\1.norm2.'),
    (_SELF + r'query\.', r'blocks.\1.attn.q_'),
    (_SELF + r'key\.', r'blocks.\1.attn.k_'),
    (_SELF + r'value\.', r'blocks.\1.attn.v_'),
    (_SELF + r'([qv]_bias)$', r'blocks.\1.attn.\2'),
    (_LAYER + r'attention\.output\.dense\.', r'blocks.\1.attn.proj.'),
    (_LAYER + r'intermediate\.dense\.', r'blocks.\1.mlp.fc1.'),
    (_LAYER + r'output\.dense\.', r'blocks.\1.mlp.fc2.'),
    (r'^layernorm\.', 'norm.'),
)
SCHEMES = (
    Scheme(
        'timm, MAE, VideoMAE',
        'patch_embed.proj.weight',
        'blocks.0.norm1.weight',
        (),
    ),
    Scheme(
        'mmaction2',
        'patch_embed.projection.weight',
        'blocks.0.norm1.weight',
        _MMACTION,
    ),
    Scheme(
        'mmpretrain, mmsegmentation',
        'patch_embed.projection.weight',
        'layers.0.ln1.weight',
        _OPENMMLAB_LAYERS,
    ),
    Scheme(
        'transformers (VideoMAE)',
        'embeddings.patch_embeddings.projection.weight',
        'encoder.layer.0.layernorm_before.weight',
        _TRANSFORMERS,
    ),
)
