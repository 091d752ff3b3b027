"""From a config to a runner, in one process or several."""

from __future__ import annotations

import argparse
import os

from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from bimm_mm.utils.processes import prepare_cpu_processes


def add_shared_arguments(
    parser: argparse.ArgumentParser, *, example: str
) -> None:
    """Flags that ``tools/train.py`` and ``tools/test.py`` have in common.

    Args:
        parser: Changed in place.
        example: Of ``--cfg-options``.
    """
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help=f'override parts of the config, such as {example}',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='who started the processes; default: none',
    )
    # Old launchers pass the local rank as an argument, with either spelling.
    parser.add_argument('--local_rank', '--local-rank', type=int)


def build_runner(
    cfg: Config, *, launcher: str = 'none', local_rank: int | None = None
) -> Runner:
    """Build a runner, started by any launcher, with or without a GPU.

    Args:
        cfg: A full config with ``work_dir``.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        local_rank: As the launcher passed it, if it passes it as an argument.

    Returns:
        Ready for ``train()``, ``val()`` or ``test()``.
    """
    cfg.launcher = launcher
    # torchrun sets it; the other launchers and a single process do not, and
    # mmengine reads it in every case.
    os.environ.setdefault('LOCAL_RANK', str(local_rank or 0))
    if launcher != 'none':
        prepare_cpu_processes(cfg)
    return Runner.from_cfg(cfg)
