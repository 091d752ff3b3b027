"""How long trainings take, over all their parts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from studies.mini.gpu import Busy, GpuBusy

# Steps done, steps in all.
Tell = Callable[[int, int], None]
_KEY = 'stopwatch'
_WINDOW = 10  # steps whose mean is one measurement of the speed
_EVERY = 0.5  # seconds between two reports


class Stopwatch(Hook):
    """Seconds of training and share of them in which the GPU was busy.

    Both are stored in checkpoints: what a killed process did after its last
    checkpoint does not count, since it is done again.

    Args:
        gpu (str, optional): Id for nvidia-smi; None: no GPU.
        tell (Callable): Is told about the progress now and then.

    Attributes:
        seconds (float): From the first step to the end, with validation.
        busy (Busy): The GPU's samples meanwhile.
    """

    # Before anything is saved.
    priority = 'VERY_HIGH'

    def __init__(self, gpu: str | None, *, tell: Tell) -> None:
        self.seconds = 0.0
        self.busy = Busy()
        self._sampler = GpuBusy(gpu)
        self._tell = tell
        self._since: float | None = None
        self._told = 0.0

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Start at the first step."""
        if self._since is None:
            self._since = time.monotonic()
            self._sampler.start()
        if time.monotonic() - self._told > _EVERY:
            self._told = time.monotonic()
            self._tell(runner.iter, runner.max_iters)

    def after_train(self, runner: Runner) -> None:
        """Stop."""
        self._add()
        self._since = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Store what was measured so far."""
        running = self._since is not None
        self._add()
        if running:
            self._sampler.start()
        checkpoint[_KEY] = {
            'seconds': self.seconds,
            'busy': self.busy.total,
            'samples': self.busy.count,
        }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Go on from what was stored."""
        stored: dict[str, Any] = checkpoint[_KEY]
        self.seconds = stored['seconds']
        self.busy = Busy(stored['busy'], stored['samples'])

    def close(self) -> None:
        """End the sampling, also after a failed training."""
        self._sampler.stop()

    def _add(self) -> None:
        if self._since is None:
            return
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now
        self.busy += self._sampler.stop()


def steps_per_second(runner: Runner) -> float | None:
    """Speed of a training: the median over windows of ten steps.

    The windows hold the waiting for data, not validation; checkpoints,
    measurements and compilation are in few windows, which the median passes
    over.

    Args:
        runner (Runner): After its training.

    Returns:
        float, optional: None if there was no whole window.
    """
    scalars = runner.message_hub.log_scalars
    if 'train/time' not in scalars:
        return None
    times = scalars['train/time'].data[0].tolist()
    windows = [
        sum(times[start : start + _WINDOW]) / _WINDOW
        for start in range(0, len(times) - _WINDOW + 1, _WINDOW)
    ]
    return 1 / statistics.median(windows) if windows else None
