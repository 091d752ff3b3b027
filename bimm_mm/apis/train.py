"""A training, from a config that was read to the end of the run."""

from __future__ import annotations

import gc
import threading
from contextlib import nullcontext

from mmengine.config import Config

from bimm_mm.apis.config import (
    check_device,
    keep_total_batch,
    starts_from_scratch,
)
from bimm_mm.apis.data_files import check_data_files
from bimm_mm.apis.launch import (
    build_runner,
    count_processes,
    dry_run,
    say_end,
    write_provenance,
)
from bimm_mm.engine.config_check import check_config
from bimm_mm.engine.hooks.before_start import check_schedule


def check_training(
    cfg: Config, *, launcher: str = 'none', keep_batch_per_gpu: bool = False
) -> None:
    """Try all of a training that can be tried before anything is built.

    Args:
        cfg: A full config; batches are accumulated to its
            ``total_batch_size``, in place.
        launcher: Who started the processes, see :func:`build_runner`.
        keep_batch_per_gpu: Whether the total batch size is left to what the
            processes have.

    Raises:
        FileNotFoundError: If data or checkpoints are missing.
        ValueError: Names the key, the value and the remedy.
    """
    check_config(cfg)
    length = cfg.train_cfg
    check_schedule(
        cfg.get('param_scheduler'),
        epochs=length.get('max_epochs'),
        iters=length.get('max_iters'),
    )
    if not keep_batch_per_gpu:
        keep_total_batch(cfg, count_processes(launcher))
    check_device(cfg)
    parts = ['train'] if cfg.get('val_cfg') is None else ['train', 'val']
    check_data_files(cfg, parts)


def train(
    cfg: Config,
    *,
    launcher: str = 'none',
    local_rank: int | None = None,
    resume_command: str,
    dry: bool = False,
    quiet: bool = False,
) -> None:
    """Train, or only try it: one update, and no file is left.

    Args:
        cfg: A full config with ``work_dir``, after :func:`check_training`.
        launcher: Who started the processes.
        local_rank: As the launcher passed it, if it passes it as an argument.
        resume_command: What a user types to go on after it was stopped.
        dry: Whether to try it only.
        quiet: Whether the screen shows warnings and errors alone.
    """
    with dry_run(cfg) if dry else nullcontext():
        runner = build_runner(
            cfg, launcher=launcher, local_rank=local_rank, quiet=quiet
        )
        runner.resume_command = resume_command
        if starts_from_scratch(runner.cfg):
            runner.logger.warning(
                'no init_cfg, load_from or --resume: training from scratch'
            )
        write_provenance(runner, runner.train_dataloader.dataset)
        try:
            runner.train()
        except SystemExit as ended:  # of a signal, or of DryRunHook
            if not dry or ended.code:
                raise
        else:
            say_end(runner)
        del runner
        _end_workers()


def _end_workers() -> None:
    """Let the workers of a run that is over end.

    Processes that are forked while they do inherit half of their queues, and
    say "Bad file descriptor" once they clear them away.
    """
    gc.collect()
    for thread in threading.enumerate():
        if thread.name == 'QueueFeederThread':
            thread.join(1)
