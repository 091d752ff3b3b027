"""Checkpoints that a run can always go on from."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

from mmengine.dist import broadcast, is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.runner import Runner

from bimm_mm.registry import HOOKS
from bimm_mm.utils.files import remove_drafts

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_BEFORE: dict[int, Any] = {}  # who had them before the training
INTERRUPTED = 'interrupted.pth'


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """MMEngine's hook, which never leaves a run without a whole checkpoint.

    An old checkpoint is removed after the new one is there, not before, and
    Ctrl-C and SIGTERM (slurm's time limit) save the run first, within the
    epoch, as ``interrupted.pth``. Options are those of MMEngine's
    ``CheckpointHook``. Files are written whole by
    :func:`bimm_mm.compat.patches.read_and_write_files`.
    """

    _signal: int | None = None
    _when = 0.0  # it came first

    def before_train(self, runner: Runner) -> None:
        """Look for checkpoints of before, and listen for signals."""
        super().before_train(runner)
        # MMEngine removes a checkpoint before it writes the next one, and
        # where it was written, of which this folder may be a copy.
        self._stale: list[str] = []
        self.file_backend = SimpleNamespace(
            join_path=os.path.join,
            isfile=lambda path: True,
            remove=lambda path: self._stale.append(Path(path).name),
        )
        if is_main_process():
            remove_drafts(self.out_dir, lambda x: x.endswith('.pth'))
        _hold_signals_in_forks()
        self._signal = None
        for number in _SIGNALS:
            before = signal.signal(number, self._note)
            _BEFORE.setdefault(number, before)
        for loop in (runner.train_loop, runner.val_loop):
            if loop is not None:
                loader = loop.dataloader
                loader.worker_init_fn = partial(
                    _outlive_signals, loader.worker_init_fn
                )

    def after_train(self, runner: Runner) -> None:
        """Give the signals back, with one that came after the last step."""
        super().after_train(runner)
        release_signals()
        if self._signal is not None:
            signal.raise_signal(self._signal)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any
    ) -> None:
        """Save what is due; after a signal, save and end."""
        super().after_train_iter(runner, batch_idx, *args, **kwargs)
        step = runner.iter + 1
        # The end of an epoch comes right after this.
        ends = self.by_epoch and step % len(runner.train_dataloader) == 0
        if not ends:
            self._end_if_told(runner, epoch=runner.epoch, step=step)

    def after_train_epoch(self, runner: Runner) -> None:
        """Save what is due; after a signal, save and end."""
        super().after_train_epoch(runner)
        self._end_if_told(runner, epoch=runner.epoch + 1, step=runner.iter)

    def before_val_epoch(self, runner: Runner) -> None:
        """Have all processes validate what the main one saves.

        Statistics of BN in the others would not come back on resuming.
        """
        for buffer in runner.model.buffers():
            broadcast(buffer)

    def after_val_iter(self, runner: Runner, *args: Any, **kw: Any) -> None:
        """After a signal, do not wait for the end of a validation."""
        self._end_if_told(runner, epoch=runner.epoch, step=runner.iter)

    def _end_if_told(self, runner: Runner, *, epoch: int, step: int) -> None:
        """After a signal, save the run as it is and end the process."""
        if self._signal is None:
            return
        meta = dict(epoch=epoch, iter=step)
        runner.save_checkpoint(self.out_dir, INTERRUPTED, meta=meta)
        command = getattr(runner, 'resume_command', '') or '--resume'
        runner.logger.warning(
            f'{signal.Signals(self._signal).name}: saved '
            f'{Path(self.out_dir) / INTERRUPTED} after step {step}; go on '
            f'with: {command}'
        )
        raise SystemExit(128 + self._signal)

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Remember a signal; a second Ctrl-C ends the process at once.

        Slurm signals all processes, and launchers pass on what they get: the
        same signal comes several times within a moment.
        """
        first = self._signal is None
        impatient = number == signal.SIGINT and not first
        if impatient and time.monotonic() - self._when > 1:
            release_signals()
            os.kill(os.getpid(), number)
        # Only the main process saves. Were another one to leave first, the
        # main process would wait for it in vain.
        elif first and is_main_process():
            self._signal, self._when = number, time.monotonic()

    def _save_checkpoint_with_step(
        self, runner: Runner, step: int, meta: dict[str, Any]
    ) -> None:
        """Save, then remove old ones."""
        super()._save_checkpoint_with_step(runner, step, meta)
        if is_main_process():
            for name in (INTERRUPTED, *self._stale):
                (Path(self.out_dir) / name).unlink(missing_ok=True)
        self._stale.clear()

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        # It writes the last checkpoint anew, to know of the best one: that
        # need not be validated when it is resumed.
        runner.message_hub.update_info('validated', runner.iter)
        super()._save_best_checkpoint(runner, metrics)


def release_signals() -> None:
    """Leave signals to whoever had them before the training.

    :class:`bimm_mm.StrictRunner` calls it when a training ends, whether well
    or with an error: Ctrl-C in a notebook must not go astray.
    """
    while _BEFORE:
        signal.signal(*_BEFORE.popitem())


@cache
def _hold_signals_in_forks() -> None:
    """Let signals wait while a process is forked; Python would drop them.

    Forked processes, such as a pool's, end on signals as always, and at once:
    one that waits for a lock might never come to a handler of Python's.
    """
    masks: list[set] = []
    mask = signal.pthread_sigmask

    def begin() -> None:
        release_signals()
        mask(signal.SIG_SETMASK, masks.pop())

    os.register_at_fork(
        before=lambda: masks.append(mask(signal.SIG_BLOCK, _SIGNALS)),
        after_in_parent=lambda: mask(signal.SIG_SETMASK, masks.pop()),
        after_in_child=begin,
    )


def _outlive_signals(init: Callable[[int], None] | None, worker: int) -> None:
    """Start a worker of a dataloader that lives as long as it is needed.

    Ctrl-C and slurm signal every process of a run; the main process needs
    its workers until it has saved, and ends them itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if init is not None:
        init(worker)


def _end_with_parent() -> None:
    """Obey SIGTERM where the main process sent it, and nobody else."""
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)
