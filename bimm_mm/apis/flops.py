"""Multiply-adds and parameters of a config's model.

Models are built on PyTorch's ``meta`` device, where tensors have a shape and
no content, so that counting a ViT-L takes a second and no memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bimm_mm.models import BIMMVisionTransformer, MaskedBranch
from bimm_mm.structures import ClipBatch, Size

# Where classifiers keep what follows the encoder. Heads of detectors and
# segmentors work on boxes or on larger maps and are not counted.
_HEADS = {
    'Recognizer2D': 'cls_head',
    'Recognizer3D': 'cls_head',
    'ImageClassifier': 'head',
}


class Part(NamedTuple):
    """Multiply-adds of one forward pass, and parameters, of a model's part."""

    name: str
    macs: int
    params: int


# Size (T, H, W) of the input, and what each part of the model costs.
Counted = tuple[Size, list[Part]]


def multiply_adds(run: Callable[..., Any], *arguments: Any) -> tuple[int, Any]:
    """Multiply-adds of a function, without gradient, and what it returned.

    Matrix products, convolutions and both products of attention count.
    Biases, norms, softmax, activations, sums and means do not: what the
    papers on masked video modeling call FLOPs leaves them out as well.
    """
    # On the CPU the counter has no formula for fused attention, only for the
    # two products that it consists of.
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        result = run(*arguments)
    return counter.get_total_flops() // 2, result


def count_config(cfg: Config) -> Counted:
    """Count the model of a config, for one input (T, H, W) that it names.

    Of pretraining (``BIMM`` or ``MaskedBranch``) that is one masked step with
    targets, of a classifier with this project's encoder as ``backbone``
    encoder and head, of any other model with it the encoder alone.

    Raises:
        ValueError: If the config has no model with this encoder.
    """
    model = cfg.get('model') or {}
    kind = str(model.get('type')).rpartition('.')[2]
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        if kind in ('BIMM', 'MaskedBranch'):
            return _count_pretraining(model, kind)
        encoder = (model.get('backbone') or {}).get('type')
        if encoder != 'bimm_mm.BIMMVisionTransformer':
            raise ValueError(
                f'the config has model.type={model.get("type")!r} with '
                f'model.backbone.type={encoder!r}: only models with '
                'bimm_mm.BIMMVisionTransformer as backbone are counted'
            )
        return _count_downstream(model, kind)


def _count_downstream(config: dict[str, Any], kind: str) -> Counted:
    """Encoder with all tokens, and the head of a classifier."""
    encoder = _on_meta(config['backbone'])
    x = _empty_input(encoder, encoder.size)
    macs, features = multiply_adds(encoder, x)
    parts = [Part('encoder', macs, _params(encoder))]
    if kind in _HEADS and config.get('neck') is None:
        head = _on_meta(config[_HEADS[kind]])
        parts.append(
            Part('head', multiply_adds(head, features)[0], _params(head))
        )
    return encoder.size, parts


def _count_pretraining(config: dict[str, Any], kind: str) -> Counted:
    """One masked step: of a branch, or of a clip and one frame of it."""
    model = _on_meta(config)
    # The dorsal branch first, as BIMM does: its maps serve the ventral one.
    names = ['dorsal', 'ventral'] if kind == 'BIMM' else ['']
    branches = [getattr(model, name) if name else model for name in names]
    size = branches[0].backbone.size
    # Targets are computed on real pixels: they are cheap, and turn autocast
    # off, which ``meta`` does not know.
    pixels = torch.zeros(1, 3, *size)
    clips = ClipBatch(pixels, pixels, contour=pixels[:, :1], following=pixels)
    parts, macs, params = [], 0, 0
    for name, branch in zip(names, branches, strict=True):
        if name == 'ventral':
            clips = model.sample_frame(clips)
        parts += _masked_parts(branch, clips.size, f'{name} '.lstrip())
        for area in (config[name] if name else config)['areas']:
            target = MODELS.build(area['target'])
            macs += multiply_adds(target, clips, branch.backbone.patch)[0]
            params += _params(target)
    parts.append(Part('targets', macs, params))
    if shared := sum(part.params for part in parts) - _params(model):
        parts.append(Part('shared blocks, counted twice', 0, -shared))
    return size, parts


def _masked_parts(branch: MaskedBranch, size: Size, prefix: str) -> list[Part]:
    """Encoder on the visible tokens, regressor, every area's decoder."""
    encoder, regressor = branch.backbone, branch.regressor
    grid = encoder.grid(size)
    x = _empty_input(encoder, size)
    indices = branch.masking(1, grid, device=x.device)
    macs, features = multiply_adds(
        encoder.encode, x, indices.visible, branch.head.after_blocks
    )
    parts = [Part(f'{prefix}encoder', macs, _params(encoder))]
    if regressor is not None:
        last = encoder.depth
        macs, features[last] = multiply_adds(
            regressor, features[last], indices, grid
        )
        parts.append(Part(f'{prefix}regressor', macs, _params(regressor)))
    for name, area in branch.areas.items():
        tokens = area.norm(features[area.after_block])
        macs, _ = multiply_adds(area.decoder, tokens, indices, grid)
        params = _params(area) - _params(area.target)
        parts.append(Part(f'{prefix}{name} decoder', macs, params))
    return parts


def _empty_input(encoder: BIMMVisionTransformer, size: Size) -> Tensor:
    return torch.empty(
        1, encoder.patch_embed.in_channels, *size, device='meta'
    )


def _on_meta(config: dict[str, Any]) -> Any:
    with torch.device('meta'):
        return MODELS.build(config).eval()


def _params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
