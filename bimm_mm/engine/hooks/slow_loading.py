"""Say once that training waits for data, and what helps."""

from __future__ import annotations

import os
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

_STEPS = 50  # that are averaged; the first ones start workers and are not
_SHARE = 0.2  # of a step's time


class SlowLoadingHook(Hook):
    """Warns once if loading takes more than a fifth of 50 steps' time.

    :class:`bimm_mm.StrictRunner` registers it; ``IterTimerHook`` measures.
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self._steps = 0
        self._told = False

    def after_train_iter(self, runner: Runner, *args: Any, **kw: Any) -> None:
        """Compare what was measured."""
        self._steps += 1
        if self._told or self._steps <= _STEPS or self._steps % _STEPS:
            return
        waited, whole = (
            runner.message_hub.get_scalar(f'train/{name}').mean(_STEPS)
            for name in ('data_time', 'time')
        )
        if waited <= _SHARE * whole:
            return
        self._told = True
        workers = getattr(runner.train_dataloader, 'num_workers', 0)
        runner.logger.warning(
            f'loading takes {waited / whole:.0%} of the time of a step '
            f'({waited:.2f} of {whole:.2f} s): raise '
            f'train_dataloader.num_workers (now {workers}; this machine has '
            f'{os.cpu_count()} cores), take several crops of a decoded video '
            '(bimm_mm.RepeatCrops, num=4), or train on copies of the videos '
            'that decode fast (tools/prepare_videos.py). "bimm doctor '
            '--loader CONFIG" measures it'
        )
