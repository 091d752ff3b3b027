"""Checkpoints that a run can always go on from."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.runner import Runner

from bimm_mm.registry import HOOKS
from bimm_mm.utils.files import remove_drafts, write_text

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
INTERRUPTED = 'interrupted.pth'


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """MMEngine's hook, which never leaves a run without a whole checkpoint.

    An old checkpoint is removed after the new one is there, not before, and
    Ctrl-C and SIGTERM (slurm's time limit) save the run first, within the
    epoch, as ``interrupted.pth``. Options are those of MMEngine's
    ``CheckpointHook``. Files are written whole by
    :func:`bimm_mm.compat.patches.write_files_whole`.
    """

    keep_ckpt_ids: deque[int]
    best_ckpt_path: str | None
    best_ckpt_path_dict: dict[str, str | None]
    _handlers: dict[int, Any] = {}
    _validated = False

    def before_train(self, runner: Runner) -> None:
        """Look for checkpoints of before, and listen for signals."""
        super().before_train(runner)
        if getattr(self, 'best_ckpt_path', None):
            self.best_ckpt_path = self._here(self.best_ckpt_path)
        for key, path in getattr(self, 'best_ckpt_path_dict', {}).items():
            self.best_ckpt_path_dict[key] = path and self._here(path)
        if is_main_process():
            remove_drafts(self.out_dir, '.pth')
        _watch_forks()
        self._signal: int | None = None
        self._handlers = {
            number: signal.signal(number, self._note) for number in _SIGNALS
        }
        for loop in (runner.train_loop, runner.val_loop):
            if loop is not None:
                loader = loop.dataloader
                loader.worker_init_fn = partial(
                    _outlive_signals, loader.worker_init_fn
                )

    def after_train(self, runner: Runner) -> None:
        """Give the signals back."""
        self.release_signals()
        super().after_train(runner)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | Sequence | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Save what is due; after a signal, save and end."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self._signal is None:
            return
        # Summed gradients are no part of a checkpoint: go on until they are
        # applied. Nor is the end of an epoch, which comes right after it.
        step = runner.iter + 1
        applied = step % runner.optim_wrapper._accumulative_counts == 0
        last = batch_idx + 1 == len(runner.train_dataloader)
        if applied and not (self.by_epoch and last):
            self._save_and_end(runner, epoch=runner.epoch, step=step)

    def after_train_epoch(self, runner: Runner) -> None:
        """Save what is due; after a signal, save and end."""
        super().after_train_epoch(runner)
        if self._signal is not None:
            self._save_and_end(
                runner, epoch=runner.epoch + 1, step=runner.iter
            )

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | Sequence | None = None,
        outputs: Sequence | None = None,
    ) -> None:
        """After a signal, do not wait for the end of a validation."""
        if getattr(self, '_signal', None) is not None:
            self._save_and_end(runner, epoch=runner.epoch, step=runner.iter)

    def _here(self, path: str | None) -> str:
        """Where a file of this folder is, which may have moved since."""
        return str(Path(self.out_dir) / Path(path or '').name)

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Remember a signal; a second Ctrl-C ends the process at once.

        Slurm signals all processes, and launchers pass on what they get: the
        same signal comes several times within a moment.
        """
        # Only the main process saves. Were another one to leave first, the
        # main process would wait for it in vain.
        if not is_main_process():
            return
        if self._signal is None:
            self._signal, self._when = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._when > 1:
            self.release_signals()
            os.kill(os.getpid(), number)

    def release_signals(self) -> None:
        """Leave signals to whoever had them before the training.

        :class:`bimm_mm.StrictRunner` calls it when a training ends, whether
        well or with an error: Ctrl-C in a notebook must not go astray.
        """
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _save_and_end(self, runner: Runner, *, epoch: int, step: int) -> None:
        """Save the run as it is and end the process."""
        assert self._signal is not None
        name = signal.Signals(self._signal).name
        self._write(runner, INTERRUPTED, dict(epoch=epoch, iter=step))
        runner.logger.warning(
            f'{name}: saved {Path(self.out_dir) / INTERRUPTED} after step '
            f'{step}; --resume goes on from there'
        )
        raise SystemExit(128 + self._signal)

    def _save_checkpoint_with_step(
        self, runner: Runner, step: int, meta: dict[str, Any]
    ) -> None:
        """Save, then point to the new file, then remove old ones."""
        name = self.filename_tmpl.format(step)
        stale: list[str] = [INTERRUPTED]
        if self.max_keep_ckpts > 0:
            kept = [other for other in self.keep_ckpt_ids if other != step]
            kept.append(step)
            cut = max(len(kept) - self.max_keep_ckpts, 0)
            stale += [self.filename_tmpl.format(old) for old in kept[:cut]]
            self.keep_ckpt_ids = deque(kept[cut:])
            runner.message_hub.update_info('keep_ckpt_ids', kept[cut:])
        self._write(runner, name, meta)
        if is_main_process():
            for old in stale:
                (Path(self.out_dir) / old).unlink(missing_ok=True)

    def _write(self, runner: Runner, name: str, meta: dict[str, Any]) -> None:
        meta['validated'] = self._validated
        self.last_ckpt = str(Path(self.out_dir) / name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
        )
        if is_main_process():
            write_text(self.last_ckpt, Path(self.out_dir) / 'last_checkpoint')

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Save the best one; remove the one before when it is there."""
        if not self.save_best:
            return
        # MMEngine removes the best one that it knows before it writes: it is
        # not told, and the file is removed here afterwards.
        several = hasattr(self, 'best_ckpt_path_dict')
        before = dict(
            self.best_ckpt_path_dict if several else {'': self.best_ckpt_path}
        )
        self.best_ckpt_path = None
        self.best_ckpt_path_dict = dict.fromkeys(before, None)
        # It writes the last checkpoint anew, to know of the best one.
        self._validated = True
        super()._save_best_checkpoint(runner, metrics)
        self._validated = False
        after = self.best_ckpt_path_dict
        if not several:
            after = {'': self.best_ckpt_path}
            del self.best_ckpt_path_dict
        for key, old in before.items():
            if after[key] is None:  # no better than before
                after[key] = old
            elif old and old != after[key] and is_main_process():
                Path(old).unlink(missing_ok=True)
        if not several:
            self.best_ckpt_path = after['']


# The signals that were blocked before a fork.
_blocked: set[Any] = set()


def _hold_signals() -> None:
    """Before a fork: a signal for the child waits until it is ready."""
    _blocked.clear()
    _blocked.update(signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS))


def _release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _blocked)


def _forget_in_child() -> None:
    """Let forked processes, such as a pool's, end on signals as always."""
    for number in _SIGNALS:
        hook = getattr(signal.getsignal(number), '__self__', None)
        if isinstance(hook, CheckpointHook):
            signal.signal(number, hook._handlers[number])
    _release_signals()


@cache
def _watch_forks() -> None:
    """Once a process trains; there is no way to take it back."""
    os.register_at_fork(
        before=_hold_signals,
        after_in_parent=_release_signals,
        after_in_child=_forget_in_child,
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
