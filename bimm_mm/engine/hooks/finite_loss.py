"""Stop at the first loss that is not finite, and say which samples did it."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from bimm_mm.datasets.transforms.formatting import find_path
from bimm_mm.registry import HOOKS


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Raises on every rank when a rank's loss is NaN or infinite.

    The FloatingPointError names the part, the ranks and the files. All ranks
    must know: gradients are averaged, so that one rank's NaN is in
    every rank's weights after the step, and any later error would name the
    wrong samples. Costs one number to reduce and one host sync per step,
    with which all losses come to the host: mmengine's ``RuntimeInfoHook``
    would otherwise wait for the device once for each of them.

    The step's weights are lost, the last checkpoint is not: this hook comes
    before the one that writes checkpoints.
    """

    # Before RuntimeInfoHook, which reads every loss.
    priority = 'HIGHEST'

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: MutableMapping[str, Tensor],
    ) -> None:
        """Check the losses of this step; move them to the host, as fp32."""
        bad = (~torch.isfinite(outputs['loss'].detach())).float().reshape(1)
        anywhere = bad.clone()
        all_reduce(anywhere, op='max')
        if not _to_host(outputs, anywhere):
            return
        reports = all_gather_object(
            _report(runner.rank, outputs, data_batch) if bad else ''
        )
        where = '\n  '.join(report for report in reports if report)
        raise FloatingPointError(
            f'the loss is not finite at iteration {runner.iter + 1}:\n  '
            f'{where}\nLook at these samples; if they are sound, lower the '
            'learning rate, clip gradients (optim_wrapper.clip_grad), or use '
            'bfloat16 instead of float16, and continue from the last '
            'checkpoint with --resume.'
        )


def _to_host(losses: MutableMapping[str, Tensor], flag: Tensor) -> bool:
    """Move losses in one copy, together with a flag (1,); is it set?"""
    numbers = [value.detach().float().reshape(1) for value in losses.values()]
    flag, *host = torch.cat([flag, *numbers]).cpu()
    losses.update(zip(losses, host, strict=True))
    return bool(flag)


def _report(rank: int, losses: Mapping[str, Tensor], batch: dict) -> str:
    """One rank's bad losses and the files of its batch."""
    values = {
        name: value.item()
        for name, value in losses.items()
        if name != 'loss' and not torch.isfinite(value).all()
    }
    # Parts can be finite and their weighted sum not.
    values = values or {'loss': losses['loss'].item()}
    parts = ', '.join(f'{name} = {value}' for name, value in values.items())
    samples = batch.get('data_samples', [])
    files = ', '.join(find_path(sample) or '?' for sample in samples)
    return f'rank {rank}: {parts}; samples: {files or "unknown"}'
