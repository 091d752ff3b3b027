"""Parts of a model that stay out of mixed precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.utils import apply_to
from torch import Tensor, nn

from bimm_mm.registry import HOOKS


@HOOKS.register_module()
class FullPrecisionHook(Hook):
    """Runs some modules in fp32 while the rest is under autocast.

    Detection heads need it under bfloat16. Its 8 bits make many of the scores
    equal that non-maximum suppression has to order, and mmcv 2.1's operators
    have no kernels for it.

    Args:
        modules: Their names in the model, such as ``'rpn_head'``.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self.modules = tuple(modules)

    def before_run(self, runner: Runner) -> None:
        """Wrap the modules, once; a ValueError if there is none of a name."""
        model = runner.model
        model = model.module if is_model_wrapper(model) else model
        modules = dict(model.named_modules())
        for name in self.modules:
            if name not in modules:
                parts = ', '.join(child for child, _ in model.named_children())
                raise ValueError(
                    f'FullPrecisionHook: {type(model).__name__} has no module '
                    f'{name!r}; its parts are {parts}'
                )
            kind = type(modules[name])
            if issubclass(kind, _FullPrecision):
                continue
            # A subclass survives copying (averaged weights), a patched method
            # would go on calling the original.
            bases = (_FullPrecision, kind)
            modules[name].__class__ = type(kind.__name__, bases, {})


class _FullPrecision(nn.Module):
    """Put before a module's class, computes its ``forward`` in fp32."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        device = next(self.parameters()).device.type
        args, kwargs = apply_to((args, kwargs), _is_short, Tensor.float)
        with torch.autocast(device, enabled=False):
            return super().forward(*args, **kwargs)


def _is_short(x: Any) -> bool:
    return isinstance(x, Tensor) and x.dtype in (torch.bfloat16, torch.half)
