"""Where to compute, from what a user says, and what is not compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

Function = TypeVar('Function', bound=Callable)


def constant_when_compiled(function: Function) -> Function:
    """Mark a function of constants, whose result a compiled graph keeps.

    As ``torch.compiler.assume_constant_result`` of PyTorch 2.11, which takes
    a second to import the compiler, whether or not anything is compiled.
    """
    vars(function)['_dynamo_marked_constant'] = True
    return function


def find_device(name: str | torch.device | None = None) -> torch.device:
    """The device of a name, if it is there.

    Args:
        name: ``'cpu'``, ``'cuda'``, ``'cuda:1'``, ...; None or ``'auto'`` is
            the GPU if there is one, else the CPU.

    Raises:
        ValueError: If PyTorch knows no such device, or cannot use it here.
    """
    if name in (None, 'auto'):
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(str(name))
        # Names of devices that this PyTorch was not built for are known, too.
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        count = torch.cuda.device_count()
        raise ValueError(
            f'device {name!r} cannot be used: PyTorch {torch.__version__} '
            f'sees {count} CUDA device(s) here; give cpu, or auto for the GPU '
            'if there is one'
        ) from error
    return device
