"""Where to compute, from what a user says."""

from __future__ import annotations

import torch


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
