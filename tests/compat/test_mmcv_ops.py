"""The stand-in for ``mmcv._ext`` gives the numbers of compiled mmcv.

``mmcv_ops.npz`` holds inputs and results of ``mmcv.ops`` of mmcv 2.1.0,
compiled by gcc 12 for the CPU, with torch 2.11.0 and Python 3.11. ``python -m
tests.compat.test_mmcv_ops`` made the file in an environment with that mmcv. On
a machine with a GPU, all tests run there as well.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv import _ext
from mmcv.ops import batched_nms, nms, roi_align, soft_nms
from torch import Tensor

FILE = Path(__file__).with_name('mmcv_ops.npz')
NMS = [(offset, iou) for offset in (0, 1) for iou in (0.1, 0.3, 0.5, 0.7)]
# (aligned, sampling_ratio, dtype)
ROI = [
    (True, 0, 'float32'),
    (True, 2, 'float32'),
    (False, 0, 'float32'),
    (False, 3, 'float32'),
    (True, 2, 'float16'),
]
is_stand_in = getattr(_ext, '__file__', None) is None
only_stand_in = pytest.mark.skipif(not is_stand_in, reason='mmcv is compiled')


def kept(inputs: dict[str, Tensor], *, offset: int, iou: float) -> Tensor:
    return nms(inputs['boxes'], inputs['scores'], iou, offset=offset)[1]


def kept_by_class(inputs: dict[str, Tensor], **options: object) -> Tensor:
    config = {'type': 'nms', 'iou_threshold': 0.5, **options}
    arguments = (inputs[name] for name in ('boxes', 'scores', 'classes'))
    return batched_nms(*arguments, config)[1]


def pooled(
    inputs: dict[str, Tensor], *, aligned: bool, samples: int, dtype: str
) -> tuple[Tensor, Tensor]:
    """Output and the gradient of a weighted sum of it."""
    to = getattr(torch, dtype)
    x = inputs['feature'].to(to, copy=True).requires_grad_()
    out = roi_align(
        x, inputs['rois'].to(to), (3, 2), 0.25, samples, 'avg', aligned
    )
    weights = torch.linspace(-1, 1, out.numel()).view_as(out).to(out)
    (grad,) = torch.autograd.grad(out, x, weights)
    return out.detach(), grad


def results(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {
        f'nms_{offset}_{iou}': kept(inputs, offset=offset, iou=iou)
        for offset, iou in NMS
    }
    found['by_class'] = kept_by_class(inputs)
    found['by_class_in_parts'] = kept_by_class(inputs, split_thr=10)
    found['without_class'] = kept_by_class(inputs, class_agnostic=True)
    for aligned, samples, dtype in ROI:
        out, grad = pooled(
            inputs, aligned=aligned, samples=samples, dtype=dtype
        )
        found[f'roi_{aligned}_{samples}_{dtype}'] = out
        found[f'grad_{aligned}_{samples}_{dtype}'] = grad
    return found


def make_inputs() -> dict[str, Tensor]:
    torch.manual_seed(0)
    corner, size = torch.rand(2, 50, 2).mul(torch.tensor([[[40]], [[24]]]))
    return {
        'boxes': torch.cat([corner, corner + size + 1], 1),
        'scores': torch.rand(50),
        'classes': torch.randint(3, (50,)),
        'feature': torch.randn(2, 2, 8, 9),
        # Inside, across the border, outside, without area, thin.
        'rois': torch.tensor(
            [
                [0, 2, 3, 30, 25],
                [1, -8, -6, 20, 60],
                [1, 50, 50, 51, 51],
                [0, 0, 0, 0, 0],
                [0, 10.5, 5, 12, 29],
            ]
        ),
    }


@pytest.fixture(params=['cpu', 'cuda'])
def stored(request) -> dict[str, Tensor]:
    if request.param == 'cuda' and not torch.cuda.is_available():
        pytest.skip('there is no GPU')
    with np.load(FILE) as arrays:
        return {
            name: torch.from_numpy(arrays[name]).to(request.param)
            for name in arrays.files
        }


def test_results_equal_those_of_compiled_mmcv(stored):
    for name, value in results(stored).items():
        torch.testing.assert_close(
            value,
            stored[name],
            # Compiled, the CPU computes in fp16 what is fp32 here.
            rtol=5e-3 if 'float16' in name else 1e-5,
            atol=5e-3 if 'float16' in name else 2e-6,
            msg=name,
        )


def test_nothing_in_gives_nothing_out(stored):
    none = {name: stored[name][:0] for name in ('boxes', 'scores', 'rois')}
    detections, indices = nms(none['boxes'], none['scores'], 0.5)
    assert detections.shape == (0, 5) and indices.shape == (0,)
    out, grad = pooled(
        {**stored, **none}, aligned=True, samples=0, dtype='float32'
    )
    assert out.shape == (0, 2, 3, 2) and not grad.any()


@only_stand_in
@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_half_precision_is_near_the_full_one(stored, dtype):
    exact = pooled(stored, aligned=True, samples=2, dtype='float32')
    for full, half in zip(
        exact,
        pooled(stored, aligned=True, samples=2, dtype=dtype),
        strict=True,
    ):
        torch.testing.assert_close(half.float(), full, rtol=0.02, atol=0.05)
    to = getattr(torch, dtype)
    few = nms(stored['boxes'].to(to), stored['scores'].to(to), 0.5)[1]
    assert few[0] == stored['nms_0_0.5'][0]


@only_stand_in
def test_autocast_trains(stored):
    with torch.autocast(stored['boxes'].device.type, torch.bfloat16):
        out, grad = pooled(stored, aligned=True, samples=2, dtype='bfloat16')
    assert out.dtype == grad.dtype == torch.bfloat16 and grad.any()


@only_stand_in
def test_other_ops_name_themselves_and_the_remedy(stored):
    boxes, scores = stored['boxes'], stored['scores']
    with pytest.raises(
        NotImplementedError, match=r'softnms.*install compiled'
    ):
        soft_nms(boxes, scores)
    with pytest.raises(
        NotImplementedError, match=r"roi_align\(pool_mode='max"
    ):
        roi_align(stored['feature'], stored['rois'], 2, 1.0, 0, 'max')


def main() -> None:
    """Write the file anew."""
    if is_stand_in:
        raise SystemExit('this needs an mmcv with its compiled ops')
    inputs = make_inputs()
    arrays = {**inputs, **results(inputs)}
    np.savez_compressed(FILE, **{k: v.numpy() for k, v in arrays.items()})


if __name__ == '__main__':
    main()
