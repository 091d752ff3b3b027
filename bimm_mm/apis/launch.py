"""From a config to a runner, in one process or several."""

from __future__ import annotations

import os

from mmengine.config import Config
from mmengine.runner import Runner

from bimm_mm.compat import prepare_cpu_processes


def build_runner(cfg: Config, *, launcher: str = 'none') -> Runner:
    """Build a runner, started by any launcher, with or without a GPU.

    Args:
        cfg (Config): A full config with ``work_dir``.
        launcher (str): ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
            Defaults to ``'none'``.

    Returns:
        Runner: Ready for ``train()``, ``val()`` or ``test()``.
    """
    cfg.launcher = launcher
    # torchrun sets it; the other launchers and a single process do not, and
    # mmengine reads it in every case.
    os.environ.setdefault('LOCAL_RANK', '0')
    if launcher != 'none':
        prepare_cpu_processes(cfg)
    return Runner.from_cfg(cfg)
