"""Linear layers that use all of an AMD CPU.

Shapes: B batch, L tokens, D in and E out channels.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CPU_INFO = Path('/proc/cpuinfo')


class Linear(nn.Linear):
    """``nn.Linear``, computed by :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, E)."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``F.linear``, where it pays as a convolution over single pixels.

    On AMD's CPUs with AVX-512 PyTorch's products in fp32 come from MKL, which
    uses AVX2 there; its convolutions come from oneDNN, which uses AVX-512.
    Twice as fast on an EPYC (docs/benchmarks.md). Everywhere else it is
    ``F.linear``.

    Args:
        x (Tensor): (B, L, D).
        weight (Tensor): (E, D).
        bias (Tensor, optional): (E,).

    Returns:
        Tensor: (B, L, E).
    """
    if not _pays(x, weight):
        return F.linear(x, weight, bias)
    # The tokens as pixels of one image that has its channels last already.
    image = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
    out = F.conv2d(image, weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


def inference_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """:func:`linear` where no gradients are wanted.

    It calls oneDNN's product itself, and so pays with one thread, too.

    Args:
        x (Tensor): (..., D).
        weight (Tensor): (E, D).
        bias (Tensor, optional): (E,).

    Returns:
        Tensor: (..., E); without a gradient where that is switched off, else
        that of :func:`linear`.
    """
    if torch.is_grad_enabled() or not _has_faster(x, weight):
        return linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(
        x.contiguous(), weight, bias, 'none', [], ''
    )


def _pays(x: Tensor, weight: Tensor) -> bool:
    """Whether a convolution gives the same numbers in less time."""
    # One thread gets PyTorch's own convolution, which calls MKL. Asked last:
    # a compiled graph would break at it.
    return _has_faster(x, weight) and torch.get_num_threads() > 1


def _has_faster(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN gives the same numbers in less time."""
    return (
        x.device.type == 'cpu'
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled('cpu')
        and not torch.compiler.is_compiling()
        # oneDNN takes no empty picture.
        and x.numel() > 0
        and _mkl_is_slow()
    )


@lru_cache(maxsize=1)
def _mkl_is_slow() -> bool:
    """Whether this is an AMD CPU of which MKL leaves half unused."""
    return (
        torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == 'AVX512'
        and _CPU_INFO.is_file()
        and 'AuthenticAMD' in _CPU_INFO.read_text()
    )
