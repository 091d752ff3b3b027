"""Released models at the size of the study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

_CONFIGS = Path(__file__).resolve().parent / 'configs'
# Not sizes but recipes.
_RECIPES = ('pretrain', 'finetune')


def sizes() -> list[str]:
    """Names of the sizes that there are."""
    stems = sorted(path.stem for path in _CONFIGS.glob('*.py'))
    return [stem for stem in stems if stem not in _RECIPES]


def read_size(name: str) -> Config:
    """Numbers of a size.

    Args:
        name (str): ``'small'``, ``'tiny'`` or ``'toy'``.

    Returns:
        Config: ``arch``, ``img_size``, ``patch_size``, ``num_frames``,
        ``frame_interval``, ``side``, ``pretrain`` and ``finetune``.

    Raises:
        ValueError: If there is no such size.
    """
    if name not in sizes():
        raise ValueError(
            f'there is no size {name!r}: choose from {", ".join(sizes())}'
        )
    return Config.fromfile(_CONFIGS / f'{name}.py')


def read_recipe(name: str) -> Config:
    """What replaces data, schedule and hooks.

    Args:
        name (str): Of ``'pretrain'`` or of ``'finetune'`` configs.
    """
    assert name in _RECIPES
    return Config.fromfile(_CONFIGS / f'{name}.py')


def shrink_model(model: dict, size: Config) -> None:
    """Make a model small.

    - Encoders get the size's ``arch``, pixels and patches, and its number of
      frames where they take videos.
    - Decoders are half as wide as the encoder and have half as many heads,
      at least one, as with the released ViT-B: 384 and 6 to 768 and 12.
    - Contours are Sobel's, computed on the device.

    Areas, taps, targets, masking, sharing and weights stay.

    Args:
        model (dict): Config of a model, changed in place.
        size (Config): From :func:`read_size`.
    """
    for node in _dicts(model):
        if 'arch' in node:
            _shrink_encoder(node, size)
        elif 'decoder_dims' in node and 'num_heads' in node:
            node['decoder_dims'] = size.arch.embed_dims // 2
            node['num_heads'] = max(1, size.arch.num_heads // 2)
        elif node.get('type') == 'bimm_mm.ContourTarget':
            node['source'] = 'sobel'


def _shrink_encoder(node: dict, size: Config) -> None:
    node['arch'] = dict(size.arch)
    node['img_size'] = size.img_size
    node['patch_size'] = size.patch_size
    if 'num_frames' in node:
        node['num_frames'] = size.num_frames


def _dicts(node: Any) -> Iterator[dict]:
    """Every dict below a node of a config, itself included."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for item in node:
            yield from _dicts(item)
