"""The compiled part of mmcv on top of torchvision.

mmcv-lite has every file of mmcv but the compiled module ``mmcv._ext``. Of its
ops, COCO, ADE20K and AVA need three, which torchvision has as well. They are
called by ``mmcv.ops`` with the signatures below.

Shapes: N boxes, K regions, B images, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

_MAX_POOLING = 0


def nms(
    bboxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int
) -> Tensor:
    """Indices of the boxes that non-maximum suppression keeps, best first.

    ``bboxes`` (N, 4) are corners x1, y1, x2, y2. With ``offset=1`` they are
    pixels, so that a box is x2 - x1 + 1 wide; else 0.
    """
    from torchvision import ops

    # A box of whole pixels ends where its last pixel does.
    last = bboxes.new_tensor([0, 0, offset, offset], dtype=torch.float32)
    return ops.nms(bboxes.float() + last, scores.float(), iou_threshold)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    **options: Any,
) -> None:
    """Average of a feature map over regions.

    Fills ``output`` (K, C, aligned_height, aligned_width) from ``input``
    (B, C, H, W) and ``rois`` (K, 5), index of the image and corners.

    Raises:
        NotImplementedError: For max pooling (``pool_mode=0``).
    """
    output.copy_(_roi_align(input, rois, options))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    **options: Any,
) -> None:
    """Fill ``grad_input`` with the gradient of :func:`roi_align_forward`."""
    with torch.enable_grad():
        # The op is linear in its input: its gradient is the same anywhere.
        anywhere = grad_input.clone().requires_grad_()
        output = _roi_align(anywhere, rois, options)
    grad = grad_output.to(output.dtype)
    grad_input.copy_(torch.autograd.grad(output, anywhere, grad)[0])


def _roi_align(x: Tensor, rois: Tensor, options: Mapping[str, Any]) -> Tensor:
    """Torchvision's op by the names that mmcv gives its options."""
    from torchvision import ops

    if options['pool_mode'] == _MAX_POOLING:
        _needs_compiled("roi_align(pool_mode='max')")
    # In fp32, as torchvision does under autocast: the CPU has no bf16 kernel.
    dtype = torch.promote_types(x.dtype, torch.float32)
    return ops.roi_align(
        x.to(dtype),
        rois.to(dtype),
        (options['aligned_height'], options['aligned_width']),
        options['spatial_scale'],
        options['sampling_ratio'],
        options['aligned'],
    )


def get_compiler_version() -> str:
    """For mmcv's report on the environment."""
    return 'none (torchvision in place of mmcv._ext)'


def get_compiling_cuda_version() -> str:
    """For mmcv's report on the environment."""
    return 'none'


def __getattr__(name: str) -> Callable[..., None]:
    """Any other op: a function that says what is missing when it is called."""
    if name.startswith('__'):
        raise AttributeError(name)

    def missing(*args: Any, **kwargs: Any) -> None:
        _needs_compiled(name)

    return missing


def _needs_compiled(op: str) -> None:
    raise NotImplementedError(
        f'mmcv._ext.{op} has no counterpart in torchvision: uninstall '
        'mmcv-lite and install compiled mmcv (https://mmcv.readthedocs.io/en/'
        'latest/get_started/installation.html), which is then used as it is'
    )
