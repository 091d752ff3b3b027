"""Results, as they lie in work directories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bimm_mm.leaderboard.compare import parse_config
from bimm_mm.leaderboard.origin import RESULT, read_json

_NEEDED = (
    'metrics',
    'config',
    'checkpoint',
    'samples',
    'log',
    'revision',
    'hardware',
    'wall_time_s',
    'command',
    'time',
)


@dataclass(frozen=True)
class Stage:
    """A training that led to a result.

    Args:
        checkpoint (dict): See :func:`~.origin.describe`.
        config (dict): Its config.
    """

    checkpoint: dict[str, Any]
    config: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of its work directory."""
        return Path(self.checkpoint['path']).parent.name

    @property
    def training(self) -> dict[str, Any]:
        """See :func:`~.origin.training`."""
        return self.checkpoint['training']


@dataclass(frozen=True)
class Result:
    """A result with its config and logs.

    Args:
        path (Path): Its file.
        record (dict): Content of the file.
        config (dict): Config of the test.
        stages (tuple[Stage, ...]): The trainings, in order.
        logs (tuple[Path, ...]): Of the last training and of the test.
    """

    path: Path
    record: dict[str, Any]
    config: dict[str, Any]
    stages: tuple[Stage, ...]
    logs: tuple[Path, ...]

    @property
    def seconds(self) -> float:
        """Wall time of all trainings and of the test."""
        trainings = (stage.training['wall_time_s'] for stage in self.stages)
        return sum(trainings) + self.record['wall_time_s']

    @property
    def commands(self) -> list[str]:
        """Commands of all trainings and of the test, in order."""
        trained = [c for s in self.stages for c in s.training['commands']]
        return [*trained, self.record['command']]


@dataclass(frozen=True)
class Refused:
    """A result that cannot enter.

    Args:
        path (Path): Its file.
        reason (str): Why.
    """

    path: Path
    reason: str


def gather(folders: Iterable[str | Path]) -> Iterator[Result | Refused]:
    """All results below some folders, in order of their paths.

    Args:
        folders (Iterable): Work directories, or folders of them.

    Raises:
        FileNotFoundError: If a folder does not exist.
    """
    paths = set()
    for folder in folders:
        if not Path(folder).is_dir():
            raise FileNotFoundError(f'there is no folder {folder}')
        paths.update(Path(folder).rglob(RESULT))
    for path in sorted(paths):
        try:
            yield _read(path)
        except ValueError as error:
            yield Refused(path, str(error))


def _read(path: Path) -> Result:
    record = read_json(path)
    missing = [key for key in _NEEDED if record.get(key) in (None, '')]
    if missing:
        raise ValueError(f'it lacks {", ".join(missing)}')
    stages = tuple(_stages(record['checkpoint']))
    log = path.parent / record['log']
    logs = [*map(Path, stages[-1].training['logs']), log]
    return Result(
        path=path,
        record=record,
        config=parse_config(record['config']),
        stages=stages,
        logs=tuple(_find_log(log, path) for log in logs),
    )


def _stages(last: dict[str, Any]) -> list[Stage]:
    """The trainings behind a checkpoint, the first one first."""
    stages: list[Stage] = []
    checkpoint: dict[str, Any] | None = last
    while checkpoint is not None:
        name = checkpoint.get('path')
        if not checkpoint.get('config'):
            raise ValueError(f'checkpoint {name} has no config of a training')
        if not checkpoint.get('training'):
            raise ValueError(f'the training of {name} was not recorded')
        config = parse_config(checkpoint['config'])
        init_cfg = checkpoint['training']['init_cfg']
        if config.get('resume') and init_cfg:
            # Resuming takes it out of the config that the checkpoint has.
            config['model']['backbone']['init_cfg'] = init_cfg
        stages.insert(0, Stage(checkpoint, config))
        checkpoint = checkpoint['training']['start']
    return stages


def _find_log(log: Path, result: Path) -> Path:
    """The log, also where work directories were moved as a whole."""
    moved = result.parent.parent / log.parent.name / log.name
    for path in (log, moved):
        if path.is_file() and path.stat().st_size:
            return path
    raise ValueError(f'there is no log {log}')
