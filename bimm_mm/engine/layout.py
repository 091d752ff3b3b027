"""How a run's steps and learning rates are laid out, to compare two runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmengine.runner import Runner
from torch.utils.data import Dataset

from bimm_mm.utils.video import find_label, find_path

_NAMES = 64  # of samples, by which two datasets of one length are told apart


class RunLayout(NamedTuple):
    """What decides how a run's steps and learning rates are laid out.

    Args:
        samples: Of the training set.
        batch_size: Per process.
        processes: Number of them.
        accumulated: Steps whose gradients are summed into one.
        epoch_steps: Steps (batches of one process) in an epoch.
        max_steps: Steps of the whole run.
        optimizer: Its class and number of parameter groups.
        names: File and label of some samples, evenly spaced.
    """

    samples: int
    batch_size: int
    processes: int
    accumulated: int
    epoch_steps: int
    max_steps: int
    optimizer: str = ''
    names: Sequence[str] = ()

    @property
    def total_batch(self) -> int:
        """Samples whose gradients make one update."""
        return self.batch_size * self.processes * self.accumulated

    def __str__(self) -> str:
        return (
            f'{self.total_batch} = {self.processes} process(es) x '
            f'{self.batch_size} per process x {self.accumulated} accumulated '
            'step(s)'
        )

    def same_schedule(self, other: RunLayout) -> bool:
        """Whether the same steps have the same learning rates in both."""
        return (
            self.total_batch == other.total_batch
            and self.epoch_steps == other.epoch_steps
            and self.max_steps == other.max_steps
        )

    @classmethod
    def of(cls, runner: Runner) -> RunLayout:
        """Read it from a runner that is training."""
        loader = runner.train_dataloader
        optimizer = runner.optim_wrapper.optimizer
        groups = len(optimizer.param_groups)
        return cls(
            samples=len(loader.dataset),
            batch_size=loader.batch_size
            or runner.cfg.train_dataloader.get('batch_size', 1),
            processes=runner.world_size,
            accumulated=runner.optim_wrapper._accumulative_counts,
            epoch_steps=len(loader),
            max_steps=runner.max_iters,
            optimizer=f'{type(optimizer).__name__} of {groups} group(s)',
            names=_names(loader.dataset),
        )

    def check_same_run(self, now: RunLayout, *, source: str) -> None:
        """Raise a ValueError if ``now`` is no run to go on with.

        ``source`` names the checkpoint of this layout.
        """
        if self.samples != now.samples:
            raise ValueError(
                f'{source} was trained on {self.samples} samples, and '
                f'the training set of this run has {now.samples}: restore '
                'the data, or start a new run with load_from'
            )
        for old, new in zip(self.names, now.names, strict=False):
            if old != new:
                raise ValueError(
                    f'{source} was trained on other samples: {old} was where '
                    f'{new} is in this run (file and label). Restore the '
                    'data, or start a new run with load_from'
                )
        if self.optimizer not in ('', now.optimizer):
            raise ValueError(
                f'{source} was trained by {self.optimizer}, and the config '
                f'has {now.optimizer}: restore optim_wrapper.optimizer, or '
                'start a new run with load_from'
            )


def _names(dataset: Dataset) -> list[str]:
    """File and label of some samples, wherever the files lie."""
    if not hasattr(dataset, 'get_data_info'):
        return []
    count = len(dataset)  # type: ignore[arg-type]
    step = -(-count // _NAMES)
    infos = map(dataset.get_data_info, range(0, count, step))
    return [
        f'{"/".join(Path(find_path(i) or "?").parts[-2:])} {find_label(i)}'
        for i in infos
    ]
