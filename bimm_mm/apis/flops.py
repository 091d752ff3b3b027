"""Work and size of a config's model, counted without its weights.

Models are built on PyTorch's ``meta`` device, where tensors have a shape and
no content, so that counting a ViT-L takes a second and no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bimm_mm.models import BIMM, BIMMVisionTransformer, MaskedBranch
from bimm_mm.structures import ClipBatch

Size = Sequence[int]
# Where classifiers keep what follows the encoder. Heads of detectors and
# segmentors work on boxes or on larger maps and are not counted.
_HEADS = {
    'Recognizer2D': 'cls_head',
    'Recognizer3D': 'cls_head',
    'ImageClassifier': 'head',
}


@dataclass(frozen=True)
class Part:
    """A part of a model.

    Args:
        name (str): Such as ``'dorsal encoder'``.
        macs (int): Multiply-adds of one forward pass for one sample.
        params (int): Parameters, those shared with another part included.
    """

    name: str
    macs: int
    params: int


@dataclass(frozen=True)
class Work:
    """What one forward pass of a model costs, for one clip or image.

    Args:
        model (str): Its class.
        size (tuple[int, int, int]): Frames, height and width (T, H, W).
        parts (tuple[Part, ...]): What it consists of.
        shared (int): Parameters that two parts share. Defaults to 0.
        omitted (str): What is not counted, '' if nothing. Defaults to ''.
    """

    model: str
    size: tuple[int, int, int]
    parts: tuple[Part, ...]
    shared: int = 0
    omitted: str = ''

    @property
    def macs(self) -> int:
        """Multiply-adds of all parts."""
        return sum(part.macs for part in self.parts)

    @property
    def params(self) -> int:
        """Parameters of all parts, shared ones once."""
        return sum(part.params for part in self.parts) - self.shared


def multiply_adds(run: Callable[[], object]) -> int:
    """Multiply-adds of what ``run`` computes, without gradient.

    Counted are matrix products, convolutions and both products of attention.
    Not counted are biases, norms, softmax, activations, sums and means: what
    the papers on masked video modelling call FLOPs leaves them out as well.

    Args:
        run (Callable): Called once, without arguments.

    Returns:
        int: As many multiplications as additions.
    """
    # The counter knows no formula for fused attention on the CPU, but for
    # the products it consists of.
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        run()
    return counter.get_total_flops() // 2


def count_config(cfg: Config, size: Size | None = None) -> Work:
    """Count the model of a config of this project.

    Args:
        cfg (Config): Pretraining (:class:`BIMM` or :class:`MaskedBranch`) or
            downstream, with this project's encoder as ``model.backbone``.
        size (Sequence[int], optional): Frames, height and width (T, H, W) of
            the input. Defaults to None: the encoder's usual input.

    Returns:
        Work: Of the masked step of pretraining, with targets; of encoder and
        head of a classifier; of the encoder alone for any other model.

    Raises:
        ValueError: If the config has no model with this encoder, or the
            patch does not divide ``size``.
    """
    model = cfg.get('model') or {}
    kind = str(model.get('type', '')).rpartition('.')[2]
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        if kind == 'BIMM':
            return _count_bimm(model, size)
        if kind == 'MaskedBranch':
            return _count_branch(model, size)
        _check_encoder(model, kind)
        return _count_dense(model, kind, size)


def _check_encoder(model: dict[str, Any], kind: str) -> None:
    """Refuse what has another encoder, or none."""
    encoder = (model.get('backbone') or {}).get('type')
    if encoder != 'bimm_mm.BIMMVisionTransformer':
        raise ValueError(
            f'the config has model.type={kind or None!r} with '
            f'model.backbone.type={encoder!r}: only models with '
            'bimm_mm.BIMMVisionTransformer as backbone are counted'
        )


def _count_dense(model: dict[str, Any], kind: str, size: Size | None) -> Work:
    """Encoder with all tokens, and the head of a classifier."""
    known = kind in _HEADS and model.get('neck') is None
    head = model.get(_HEADS[kind]) if known else None
    with torch.device('meta'):
        encoder = MODELS.build(model['backbone']).eval()
        size = _usual(encoder, size)
        x = torch.empty(1, encoder.patch_embed.in_channels, *size)
    work = multiply_adds(lambda: encoder(x))
    parts = [Part('encoder', work, _size(encoder))]
    if head is None:
        return Work(kind, size, tuple(parts), omitted='neck and head')
    layers, features = _on_meta(head), encoder(x)
    work = multiply_adds(lambda: layers(features))
    parts.append(Part('head', work, _size(layers)))
    return Work(kind, size, tuple(parts))


def _count_branch(cfg: dict[str, Any], size: Size | None) -> Work:
    """One masked step of a branch."""
    branch: MaskedBranch = _on_meta(cfg)
    size = _usual(branch.backbone, size)
    parts = [*_masked_parts(branch, size)]
    clip = _blank(size)
    macs = multiply_adds(lambda: _make_targets(branch, cfg, clip))
    parts.append(Part('targets', macs, _target_size(branch)))
    return Work('MaskedBranch', size, tuple(parts))


def _count_bimm(cfg: dict[str, Any], size: Size | None) -> Work:
    """One joint step: the clip, and one frame of it."""
    model: BIMM = _on_meta(cfg)
    size = _usual(model.dorsal.backbone, size)
    frame = (1, *size[1:])
    parts = [
        *_masked_parts(model.dorsal, size, 'dorsal '),
        *_masked_parts(model.ventral, frame, 'ventral '),
    ]
    clip = _blank(size)

    def targets() -> None:
        _make_targets(model.dorsal, cfg['dorsal'], clip)
        _make_targets(model.ventral, cfg['ventral'], model.sample_frame(clip))

    branches = (model.dorsal, model.ventral)
    own = sum(_target_size(branch) for branch in branches)
    parts.append(Part('targets', multiply_adds(targets), own))
    every = model.named_parameters(remove_duplicate=False)
    shared = _numbers(p for _, p in every) - _size(model)
    return Work('BIMM', size, tuple(parts), shared=shared)


def _masked_parts(
    branch: MaskedBranch, size: Size, name: str = ''
) -> Iterator[Part]:
    """Encoder on the visible tokens, regressor, every area's decoder."""
    encoder, areas = branch.backbone, branch.head.areas
    grid = encoder.grid(size)
    device = torch.device('meta')
    x = torch.empty(1, encoder.patch_embed.in_channels, *size, device=device)
    indices = branch.draw(1, grid, device=device)

    def encode() -> dict[int, Tensor]:
        return encoder.encode(x, indices.visible, branch.head.taps)

    yield Part(f'{name}encoder', multiply_adds(encode), _size(encoder))
    features = encode()
    if branch.regressor is not None:
        last = encoder.depth

        def regress() -> Tensor:
            return branch.regressor(features[last], indices, grid)

        own = _size(branch.regressor)
        yield Part(f'{name}regressor', multiply_adds(regress), own)
        features[last] = regress()
    for key, area in areas.items():
        macs = multiply_adds(
            lambda area=area: area.decoder(
                area.norm(features[area.after_block]), indices, grid
            )
        )
        own = _size(area) - _size(area.target)
        yield Part(f'{name}{key} decoder', macs, own)


def _make_targets(
    branch: MaskedBranch, cfg: dict[str, Any], clip: ClipBatch
) -> None:
    """Every target of a branch, computed in earnest.

    Targets turn autocast off, which ``meta`` does not know, and are cheap.
    """
    for area in cfg['areas']:
        target = MODELS.build(area['target'])
        target(clip, branch.backbone.patch)


def _blank(size: Size) -> ClipBatch:
    """A black clip (1, 3, T, H, W) with all that a target may ask for."""
    pixels, contour = torch.zeros(1, 3, *size), torch.zeros(1, 1, *size)
    return ClipBatch(pixels, pixels, contour, pixels)


def _on_meta(cfg: dict[str, Any]) -> nn.Module:
    with torch.device('meta'):
        return MODELS.build(cfg).eval()


def _usual(
    encoder: BIMMVisionTransformer, size: Size | None
) -> tuple[int, int, int]:
    """The input that is counted; the encoder says whether it fits."""
    size = tuple(encoder.size if size is None else size)
    encoder.grid(size)
    return size


def _target_size(branch: MaskedBranch) -> int:
    return sum(_size(area.target) for area in branch.head.areas.values())


def _size(module: nn.Module) -> int:
    return _numbers(module.parameters())


def _numbers(parameters: Iterable[Tensor]) -> int:
    return sum(parameter.numel() for parameter in parameters)
