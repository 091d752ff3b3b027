"""How a run's steps and learning rates are laid out, to compare two runs."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.dataset import InfiniteSampler
from mmengine.runner import Runner
from torch.utils.data import Dataset

from bimm_mm.datasets.transforms.formatting import find_label, find_path
from bimm_mm.utils.config_parts import walk

_NAMES = 64  # of samples, by which two datasets of one length are told apart
_DATA, _OPTIMIZER = 'the training set', 'the optimizer'
_MODEL = ('model', 'data_preprocessor')  # in the config
# By part of a run, what is known of it before its first step.
Description = dict[str, dict[str, Any]]


class TotalBatch(NamedTuple):
    """How the samples come together whose gradients make one update."""

    processes: int
    per_process: int
    accumulated: int  # steps

    @property
    def size(self) -> int:
        """Number of samples."""
        return self.processes * self.per_process * self.accumulated

    def __str__(self) -> str:
        return (
            f'{self.size} = {self.processes} process(es) x '
            f'{self.per_process} per process x {self.accumulated} accumulated '
            'step(s)'
        )

    @classmethod
    def of(cls, runner: Runner) -> TotalBatch:
        """Read it from a runner that is training.

        No batch has more samples than a process has in an epoch.
        """
        loader = runner.train_dataloader
        size = loader.batch_size
        if size and not isinstance(loader.sampler, InfiniteSampler):
            size = min(size, len(loader.sampler))
        return cls(
            runner.world_size,
            size or runner.cfg.train_dataloader.get('batch_size', 1),
            runner.optim_wrapper._accumulative_counts,
        )


def describe(runner: Runner) -> Description:
    """What a run is, to be asked before its first step and kept with it."""
    loader, optimizer = runner.train_dataloader, runner.optim_wrapper.optimizer
    groups, schedules = optimizer.param_groups, runner.param_schedulers or ()
    config = {key: runner.cfg.get(key) for key in _MODEL}
    parts: Description = {
        'the config': {
            key: value
            for key, value in walk(config)
            # A resumed run needs no pretrained weights.
            if isinstance(value, (str, float, int)) and 'checkpoint' not in key
        },
        _DATA: _samples(loader.dataset),
        _OPTIMIZER: {'type': type(optimizer).__name__, 'size': len(groups)},
        'the run': {
            'total batch size': TotalBatch.of(runner).size,
            'length of an epoch': len(loader),
            'length': runner.max_iters,
            'number of schedules': len(schedules),
        },
    }
    for i, group in enumerate(groups):
        parts[f'group {i}'] = {k: group[k] for k in group if k != 'params'}
    for i, schedule in enumerate(schedules):
        parts[f'schedule {i}'] = schedule.state_dict()
    return deepcopy(parts)


def changes(
    before: Description, now: Description, *, source: str
) -> list[str]:
    """What makes other steps of the same numbers than before.

    ``source`` names the checkpoint of the run before.

    Raises:
        ValueError: If data or optimizer are others: it is another run.
    """
    changed = []
    for part, facts in before.items():
        new = now.get(part, {})
        for key in facts:
            if key not in new or facts[key] == new[key]:
                continue
            text = f'{key} of {part} was {facts[key]} and is {new[key]}'
            if part in (_DATA, _OPTIMIZER):
                raise ValueError(
                    f'{source} is of another run: {text}. Restore it, or '
                    'start a new run with load_from'
                )
            changed.append(text)
    return changed


def _samples(dataset: Dataset) -> dict[str, Any]:
    """Their number, and file and label of some, wherever the files lie."""
    count = len(dataset)  # type: ignore[arg-type]
    facts: dict[str, Any] = {'size': count}
    if hasattr(dataset, 'get_data_info'):
        for index in range(0, count, -(-count // _NAMES)):
            info = dataset.get_data_info(index)
            name = '/'.join(Path(find_path(info) or '?').parts[-2:])
            facts[f'sample {index}'] = f'{name} (label {find_label(info)})'
    return facts
