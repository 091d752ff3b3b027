"""One update, a table of what was found, and the end."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from bimm_mm.engine.hooks.before_start import BeforeStartHook
from bimm_mm.engine.layout import TotalBatch
from bimm_mm.registry import HOOKS


@HOOKS.register_module()
class DryRunHook(Hook):
    """Ends the process, with status 0, after the first update.

    Everything was built, tried and trained by then; a table says how the run
    is laid out. Used by ``tools/train.py --dry-run``.
    """

    # After all other hooks have seen the step.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Leave out a validation that a resumed run was stopped in."""
        runner.validate_first = False

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Any = None,
    ) -> None:
        """Report and end."""
        if is_main_process():
            for name, text in _rows(runner, TotalBatch.of(runner)).items():
                print(f'{name:<14} {text}')
        raise SystemExit(0)


def _rows(runner: Runner, total: TotalBatch) -> dict[str, str]:
    loader, groups = runner.train_dataloader, runner.optim_wrapper.param_groups
    rates = [group['lr'] for group in groups]
    full = [group.get('initial_lr', group['lr']) for group in groups]
    history = runner.message_hub.log_scalars
    seconds, waiting = (
        sum(history[f'train/{name}'].data[0]) for name in ('time', 'data_time')
    )
    losses = ', '.join(
        f'{name.removeprefix("train/")} {scalar.current():.4g}'
        for name, scalar in history.items()
        if 'loss' in name
    )
    rows = {
        'training set': f'{len(loader.dataset)} samples',
        'total batch': str(total),
        'steps': f'{len(loader)} an epoch, {runner.max_iters} in all',
        'learning rate': f'{max(rates):.4g} at first, of {max(full):.4g}',
        'first update': f'{seconds:.3g} s, of which {waiting:.3g} s wait for '
        'data (later ones are faster)',
        'losses': losses,
    }
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated() / 2**30
        rows['memory'] = f'{peak:.3g} GiB at most on this GPU'
    if runner.val_loop is not None:
        names = next(
            hook.metrics
            for hook in runner.hooks
            if isinstance(hook, BeforeStartHook)
        )
        rows['validation'] = (
            f'{len(runner.val_dataloader.dataset)} samples, measured with '
            + (', '.join(names) or 'no metric')
        )
    return rows
