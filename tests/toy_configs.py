"""Released pretraining configs made small: the same structure, toy width."""

from __future__ import annotations

from typing import Any

from bimm_mm.utils.config_parts import dicts
from projects.paper_tables.tables import flatten

SIDE = 64  # pixels: 4 x 4 patches
FULL = 224
WIDTH, HEADS = 48, 4
DEPTHS = {'small': 12, 'base': 12, 'large': 24}
TOKENIZER = dict(  # a small one with random weights
    checkpoint=None,
    dtype='float32',
    ch=32,
    ch_mult=(1, 1, 1, 1, 1),
    num_res_blocks=1,
    z_channels=8,
    code_dims=8,
    num_codes=32,
)


def innermost(loader: Any) -> Any:
    """The dataset inside all wrappers of a loader's."""
    dataset = loader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    return dataset


def transforms(pipeline: list[Any]) -> list[dict[str, Any]]:
    """All transforms of a pipeline, nested ones included."""
    return [step for step in dicts(pipeline) if 'type' in step]


def changed_keys(one: Any, other: Any) -> set[str]:
    """Dotted keys in which two configs differ."""
    a, b = flatten(one), flatten(other)
    absent = object()
    return {key for key in a | b if a.get(key, absent) != b.get(key, absent)}


def pixel_branch(backbone: dict[str, Any], after_block: int) -> dict[str, Any]:
    """A branch of one area, pixels by a linear decoder."""
    area = dict(name='V4', after_block=after_block)
    area['decoder'] = dict(type='bimm_mm.LinearDecoder')
    area['target'] = dict(type='bimm_mm.PixelTarget')
    masking = dict(type='bimm_mm.RandomMasking', ratio=0.5)
    kind = dict(type='bimm_mm.MaskedBranch', masking=masking)
    return dict(kind, backbone=backbone, areas=[area])


def _shrink_value(value: object) -> object:
    """224 pixels, wherever they stand, become 64."""
    if isinstance(value, (list, tuple)):
        return type(value)(
            SIDE if item == FULL and not isinstance(item, bool) else item
            for item in value
        )
    return SIDE if value == FULL and not isinstance(value, bool) else value


def shrink_sizes(part: dict[str, Any]) -> None:
    """Pixels of a model or of a pipeline, in place."""
    for node in dicts(part):
        for key, value in node.items():
            node[key] = _shrink_value(value)


def shrink_model(model: dict[str, Any]) -> None:
    """Narrow encoders of full depth, so that all areas stay, and decoders."""
    for node in dicts(model):
        if node.get('type') == 'bimm_mm.VQGANTokenizer':
            node.update(TOKENIZER)
        elif node.get('type') == 'bimm_mm.DALLETokenizer':
            node.update(checkpoint=None, num_codes=32, n_hid=8)
        elif isinstance(node.get('arch'), str):
            node['arch'] = dict(
                embed_dims=WIDTH, depth=DEPTHS[node['arch']], num_heads=HEADS
            )
        elif 'num_heads' in node and 'embed_dims' not in node:
            small = dict(decoder_dims=WIDTH, num_heads=HEADS, depth=1)
            node.update({k: v for k, v in small.items() if k in node})
    if 'ventral_checkpoint' in model:
        model['ventral_checkpoint'] = None
