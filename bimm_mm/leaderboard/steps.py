"""Steps: the commands that reproduce rows, each run once."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config

from bimm_mm.leaderboard.origin import checkpoint_key, dotted
from bimm_mm.leaderboard.outcome import finished_training, result_of
from bimm_mm.leaderboard.tables import Finetuning, Row

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


@dataclass(frozen=True)
class Step:
    """A training or a test.

    Args:
        config (Path): Its config.
        work_dir (Path): Where it writes.
        checkpoint (Path): What a training writes last, or a test reads.
        test (bool): Whether it is a test.
        options (Mapping): Values by dotted key, as ``--cfg-options``.
        needs (Step, optional): What must be finished before. Defaults to
            None.
    """

    config: Path
    work_dir: Path
    checkpoint: Path
    test: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: Step | None = None

    @property
    def name(self) -> str:
        """Such as ``'test finetune_k400'``."""
        return f'{"test" if self.test else "train"} {self.work_dir.name}'

    def command(self, gpus: int = 1) -> list[str]:
        """The command line.

        Args:
            gpus (int): Processes, one per GPU. Defaults to 1.
        """
        kind = 'test' if self.test else 'train'
        if gpus > 1:
            command = ['bash', _short(TOOLS / f'dist_{kind}.sh')]
        else:
            command = ['python', _short(TOOLS / f'{kind}.py')]
        command.append(_short(self.config))
        if self.test:
            command.append(str(self.checkpoint))
        if gpus > 1:
            command.append(str(gpus))
        command += ['--work-dir', str(self.work_dir)]
        if not self.test:
            # From the last checkpoint, or from the start if there is none.
            command.append('--resume')
        if self.options:
            command.append('--cfg-options')
            command += [f'{key}={val}' for key, val in self.options.items()]
        return command

    def line(self, gpus: int = 1) -> str:
        """The command line as a shell takes it."""
        return shlex.join(self.command(gpus))

    def done(self) -> bool:
        """Whether its result is there already."""
        if self.test:
            return result_of(self.work_dir, self.checkpoint) is not None
        return finished_training(self.work_dir, self.checkpoint)


def row_steps(row: Row, work_dirs: str | Path) -> list[Step]:
    """All steps of a row, in order.

    Args:
        row (Row): A row with configs.
        work_dirs (str | Path): The folder of work directories.

    Returns:
        list[Step]: Stages of pretraining, then a training and a test for
        every benchmark; none if the row has no configs.

    Raises:
        ValueError: If a config cannot take the checkpoint of the one before.
    """
    work_dirs = Path(work_dirs)
    steps: list[Step] = []
    for config in row.pretrain:
        before = steps[-1] if steps else None
        steps.append(_training(config, work_dirs / config.stem, {}, before))
    for finetuning in row.finetune.values():
        steps += _finetuning(finetuning, steps[len(row.pretrain) - 1])
    return steps


def unique(steps: Iterable[Step]) -> Iterator[Step]:
    """Every step once; rows share stages of pretraining."""
    seen: dict[str, Step] = {}
    for step in steps:
        known = seen.setdefault(f'{step.test} {step.work_dir}', step)
        if known is step:
            yield step
        elif known != step:
            raise ValueError(
                f'two different runs would write to {step.work_dir}: '
                f'"{known.line()}" and "{step.line()}"; give one of the '
                'configs another name'
            )


def _finetuning(finetuning: Finetuning, before: Step) -> list[Step]:
    config, options = finetuning.config, dict(finetuning.options)
    cfg = _read(config)
    # The name that the documents use, where the config names this checkpoint.
    usual = Path('work_dirs', before.work_dir.name, before.checkpoint.name)
    same = str(usual) == dotted(cfg, _key(cfg, config))
    name = config.stem
    if not same:
        name += f'_from_{before.work_dir.name}'
    train = _training(config, before.work_dir.parent / name, options, before)
    test = Step(
        config, train.work_dir, train.checkpoint, True, options, needs=train
    )
    return [train, test]


def _training(
    config: Path, work_dir: Path, options: dict, before: Step | None
) -> Step:
    cfg = _read(config)
    if before is not None:
        key = _key(cfg, config)
        if dotted(cfg, key) != str(before.checkpoint):
            options = {**options, key: before.checkpoint}
    return Step(
        config, work_dir, work_dir / _last(cfg), options=options, needs=before
    )


@cache
def _read(config: Path) -> Config:
    """Rows share configs."""
    return Config.fromfile(config)


def _last(cfg: Config) -> str:
    """Name of the last checkpoint of a training."""
    if 'max_epochs' in cfg.train_cfg:
        return f'epoch_{cfg.train_cfg.max_epochs}.pth'
    return f'iter_{cfg.train_cfg.max_iters}.pth'


def _key(cfg: Config, config: Path) -> str:
    key = checkpoint_key(cfg)
    if key is None:
        raise ValueError(
            f'{config} starts from no checkpoint, but stands after a '
            'pretraining in its table: give it model.ventral_checkpoint or '
            'model.backbone.init_cfg.checkpoint'
        )
    return key


def _short(path: Path) -> str:
    """Relative to the current folder where that is possible."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
