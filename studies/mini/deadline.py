"""Trainings that stop in time, and go on as if they had not stopped."""

from __future__ import annotations

import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

_NAME = 'iter_{}.pth'


def never() -> bool:
    """Nobody asks to stop."""
    return False


class StopAtDeadline(Hook):
    """Saves a checkpoint and ends the training when the time is over.

    The checkpoint holds everything after the step, as those that are saved at
    regular intervals do: after the schedule was advanced, before validation.
    Only the host's clock is read; no step waits for the device.

    Args:
        deadline (float): Seconds since 1970; the step during which it passes
            is the last one.
        asked (Callable): Whether to stop before. Defaults to never.

    Attributes:
        stopped (bool): Whether the training was ended before its last step.
    """

    # After schedules, checkpoints and measurements of the same step.
    priority = 'LOWEST'

    def __init__(
        self, deadline: float, *, asked: Callable[[], bool] = never
    ) -> None:
        self.deadline = deadline
        self.asked = asked
        self.stopped = False

    def before_train(self, runner: Runner) -> None:
        """Check the loop.

        Raises:
            ValueError: If it counts epochs: in the middle of one it could not
                go on exactly.
        """
        if not isinstance(runner.train_loop, IterBasedTrainLoop):
            kind = type(runner.train_loop).__name__
            raise ValueError(
                f'a training by {kind} cannot stop at a deadline: set '
                'train_cfg=dict(by_epoch=False, max_iters=...)'
            )

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Save and stop, unless there is time or this was the last step."""
        if time.time() < self.deadline and not self.asked():
            return
        step = runner.iter + 1
        if step >= runner.max_iters:
            return
        name = _NAME.format(step)
        runner.save_checkpoint(runner.work_dir, name, by_epoch=False)
        runner.train_loop.stop_training = True
        self.stopped = True


def newest_checkpoint(folder: Path) -> Path | None:
    """The last whole checkpoint of a training.

    mmengine writes checkpoints in place, and the name of the last one beside
    them: a process that is killed leaves either torn. A torn archive lacks
    its directory, which comes last.

    Args:
        folder (Path): Work directory.

    Returns:
        Path, optional: None if there is none.
    """
    whole = [path for path in _checkpoints(folder) if zipfile.is_zipfile(path)]
    return max(whole, key=_step, default=None)


def remove_checkpoints(folder: Path, *, keep: int) -> None:
    """Remove all but the newest checkpoints.

    Args:
        folder (Path): Work directory.
        keep (int): How many stay.
    """
    paths = sorted(_checkpoints(folder), key=_step, reverse=True)
    for path in paths[keep:]:
        path.unlink()


def _checkpoints(folder: Path) -> list[Path]:
    pattern = _NAME.replace('.', r'\.').format(r'\d+')
    return [p for p in folder.glob('*.pth') if re.fullmatch(pattern, p.name)]


def _step(path: Path) -> int:
    return int(re.sub(r'\D', '', path.stem))
