"""Learning rates by layer, for any library, and bfloat16 without a GPU."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIMIZERS
from torch import nn

from bimm_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS

# Kept out of weight decay although it is no vector.
_TOKENS = ('cls_token', 'mask_token', 'pos_embed')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecay:
    """Layer-wise decay of the learning rate of ``model.backbone``.

    A parameter of level i trains with ``lr * layer_decay ** (L + 1 - i)`` in
    an encoder of L blocks: level 0 are patch embedding and class token, 1..L
    the blocks, L + 1 the final norm and everything outside the backbone.
    Biases, norms (all vectors) and tokens have no weight decay, as in MAE and
    VideoMAE.

    Parameters that are treated alike share a group, 2 (L + 2) at most, as
    the optimizer's fused kernels want.

    Args:
        optim_wrapper_cfg: Config of the optimizer wrapper, with an
            ``optimizer`` that has ``lr`` and ``weight_decay``.
        paramwise_cfg: ``layer_decay`` in (0, 1], and nothing else; 1.0 gives
            all parameters the same learning rate.
    """

    def __init__(
        self,
        optim_wrapper_cfg: Mapping[str, Any],
        paramwise_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        given = dict(paramwise_cfg or {})
        if set(given) != {'layer_decay'}:
            raise ValueError(
                f'bimm_mm.LayerDecay got paramwise_cfg={given}: it takes '
                'layer_decay, such as paramwise_cfg=dict(layer_decay=0.75), '
                'and nothing else'
            )
        self.layer_decay = given['layer_decay']
        if not 0 < self.layer_decay <= 1:
            raise ValueError(
                f'layer_decay={self.layer_decay} must lie in (0, 1]'
            )
        self.wrapper = dict(optim_wrapper_cfg)
        self.optimizer = dict(self.wrapper.pop('optimizer'))
        for key in ('lr', 'weight_decay'):
            if key not in self.optimizer:
                raise ValueError(f'optim_wrapper.optimizer has no {key}')

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapper for a model, wrapped for processes or not."""
        inner: Any = model.module if is_model_wrapper(model) else model
        groups = self.groups(inner)
        print_log(_describe(groups, self.optimizer['lr']), 'current')
        optimizer = OPTIMIZERS.build({**self.optimizer, 'params': groups})
        wrapper = {'type': 'OptimWrapper', **self.wrapper}
        return OPTIM_WRAPPERS.build(
            wrapper, default_args={'optimizer': optimizer}
        )

    def groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Parameter groups, from the first level to the last."""
        backbone: Any = getattr(model, 'backbone', None)
        if not hasattr(backbone, 'get_layer_depth'):
            raise ValueError(
                'bimm_mm.LayerDecay needs model.backbone with '
                'get_layer_depth, such as bimm_mm.BIMMVisionTransformer; '
                f'{type(model).__name__} has none'
            )
        groups: dict[tuple[int, bool], dict[str, Any]] = {}
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            level, levels = backbone.get_layer_depth(name)
            decays = parameter.ndim > 1 and not name.endswith(_TOKENS)
            scale = self.layer_decay ** (levels - 1 - level)
            group = {
                'params': [],
                'lr': self.optimizer['lr'] * scale,
                'weight_decay': self.optimizer['weight_decay'] * decays,
                'level': level,
            }
            groups.setdefault((level, decays), group)['params'].append(
                parameter
            )
        return [groups[key] for key in sorted(groups)]


def _describe(groups: list[dict[str, Any]], lr: float) -> str:
    """The ladder, one line a level."""
    counts: Counter[int] = Counter()
    rates = {group['level']: group['lr'] for group in groups}
    for group in groups:
        counts[group['level']] += sum(p.numel() for p in group['params'])
    lines = [
        f'  level {level:2d}: lr {rates[level]:.3e} = {lr:.3g} x '
        f'{rates[level] / lr:.4f}, {counts[level]:,} parameters'
        for level in sorted(rates)
    ]
    return '\n'.join(
        ['layer-wise learning rates (before scaling by batch size):', *lines]
    )


def warn_of_unused_keys(wrapper: Mapping[str, Any], model: nn.Module) -> None:
    """Warn of ``custom_keys`` that are in no name of a parameter.

    Tokens are not told: schedules are for models with and without them.
    """
    keys = (wrapper.get('paramwise_cfg') or {}).get('custom_keys') or ()
    names = ' '.join(name for name, _ in model.named_parameters())
    unused = [key for key in keys if key not in names and key not in _TOKENS]
    if unused:
        print_log(
            f'optim_wrapper.paramwise_cfg.custom_keys: {", ".join(unused)} '
            'changes nothing: no name of a parameter contains it',
            'current',
            logging.WARNING,
        )


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Runs forward passes in bfloat16 on the CPU.

    mmengine's ``AmpOptimWrapper`` refuses to be built without a GPU
    (mmpretrain issue 1556). bfloat16 has the range of float32 and needs no
    loss scaling, so that nothing but the context differs; the arguments are
    those of ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast to bfloat16."""
        with (
            super().optim_context(model),
            torch.autocast('cpu', dtype=torch.bfloat16),
        ):
            yield
