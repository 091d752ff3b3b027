"""From a config to a runner and the end of a run, and what it began with."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.dist import get_world_size, master_only
from mmengine.runner import Runner
from torch.utils.data import Dataset

from bimm_mm.apis.config import (
    check_device,
    keep_total_batch,
    starts_from_scratch,
)
from bimm_mm.apis.data_files import check_data_files
from bimm_mm.engine.config_check import check_config
from bimm_mm.engine.hooks.before_start import check_schedule
from bimm_mm.engine.resume import newest_checkpoint
from bimm_mm.engine.runner import QuietRunner, StrictRunner
from bimm_mm.utils.files import write_text
from bimm_mm.utils.processes import prepare_cpu_processes
from bimm_mm.utils.progress import say
from bimm_mm.utils.remedies import remedy
from bimm_mm.version import __version__

_ROOT = Path(__file__).resolve().parents[2]


def add_cfg_options(
    parser: argparse._ActionsContainer, *, example: str
) -> None:
    """The flag of OpenMMLab's tools that overrides parts of a config."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help=f'override parts of the config, such as {example}',
    )


def add_launcher(parser: argparse._ActionsContainer) -> None:
    """Who started the process, and what it says if it cannot start."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='who started the processes; default: none',
    )
    parser.add_argument(
        '--debug',
        action='store_true',
        help='show the traceback of a mistake in the config',
    )
    # Old launchers pass the local rank as an argument, with either spelling.
    parser.add_argument('--local_rank', '--local-rank', type=_set_local_rank)


def _set_local_rank(number: str) -> None:
    """Put it where torchrun does, and mmengine reads it in every case."""
    os.environ.setdefault('LOCAL_RANK', str(int(number)))


def count_processes(launcher: str) -> int:
    """How many processes a launcher has started; see ``build_runner``."""
    names = dict(
        pytorch='WORLD_SIZE', slurm='SLURM_NTASKS', mpi='OMPI_COMM_WORLD_SIZE'
    )
    return int(os.environ.get(names.get(launcher, ''), 1))


def build_runner(
    cfg: Config,
    *,
    launcher: str = 'none',
    quiet: bool = False,
) -> StrictRunner:
    """Build a runner of a full config, with or without a GPU.

    ``launcher`` is one of :func:`add_launcher`; where it is ``quiet``, the
    screen shows warnings and errors alone.
    """
    cfg.launcher = launcher
    _set_local_rank('0')  # which not every launcher does
    if launcher != 'none':
        prepare_cpu_processes(cfg)
    return (QuietRunner if quiet else StrictRunner).from_cfg(cfg)


@contextmanager
def dry_run(cfg: Config) -> Iterator[None]:
    """Let a run do one update, in a folder that is removed afterwards.

    ``cfg`` is changed in place.
    """
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    out_dir = hook.pop('out_dir', None)
    if cfg.get('resume') and not cfg.get('load_from'):
        cfg.load_from = newest_checkpoint(cfg.work_dir, out_dir=out_dir)
        cfg.resume = cfg.load_from is not None
    cfg.custom_hooks = [
        *[
            hook
            for hook in cfg.get('custom_hooks') or []
            # It validates everything before the first step.
            if hook.get('type') != 'bimm_mm.FirstValHook'
        ],
        dict(type='bimm_mm.DryRunHook'),
    ]
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        yield


def resume_command(launcher: str) -> str:
    """How a run of ``tools/train.py`` that was stopped goes on."""
    if launcher == 'none':
        typed = shlex.join(['python', *sys.argv])
        again = ' --resume auto'
        return typed.removesuffix(again).removesuffix(again[:9]) + again
    return 'the same command and --resume'


@contextmanager
def errors_named(work_dir: str) -> Iterator[None]:
    """Say where a disk is full, and why gloo lost another process."""
    try:
        yield
    except OSError as error:
        if remedy(error) and error.filename is None:
            error.filename = work_dir
        raise
    except RuntimeError as error:
        if ' by peer' not in str(error):
            raise
        raise ChildProcessError(
            'another process of this run ended, which says why, or the '
            'launcher its signal: --resume goes on from the newest checkpoint'
        ) from error


@master_only
def say_end(runner: Runner) -> None:
    """Print where a training ended, for a screen with little else."""
    saved = runner.message_hub.get_info('last_ckpt', 'no checkpoint')
    scalars = runner.message_hub.log_scalars
    words = [f'{runner.iter} steps, loss {scalars["train/loss"].mean(10):.4f}']
    if top1 := scalars.get('val/acc/top1'):
        words.append(f'acc/top1 {top1.current():.4f}')
    say(f'finished: {", ".join(words)}, {saved}')


@master_only
def write_provenance(runner: Runner, dataset: Dataset) -> None:
    """Write ``provenance.json`` into the folder of the runner's log.

    It has the command, the revision of this code, the machine, the number of
    samples that the runner is about to train or to test on, and the config.
    """
    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else 'CPU'
    record = {
        'command': shlex.join(['python', *sys.argv]),
        'revision': find_revision(),
        'machine': f'{get_world_size()} x {device}, torch {torch.__version__}',
        'samples': len(dataset),  # type: ignore[arg-type]
        'config': runner.cfg.to_dict(),
    }
    text = json.dumps(record, indent=2, default=str)
    write_text(text, Path(runner.log_dir) / 'provenance.json')


def find_revision() -> str:
    """Version and git revision of this code; '-dirty' where it was changed."""
    describe = ['git', '-C', str(_ROOT), 'describe', '--always', '--dirty']
    if not (_ROOT / '.git').exists():
        return f'{__version__}, not in a git checkout'
    try:
        found = subprocess.run(
            [*describe, '--abbrev=40', '--exclude=*'],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return f'{__version__}, git cannot be asked'
    return f'{__version__}, git {found.stdout.strip()}'


def check_training(
    cfg: Config, *, launcher: str = 'none', keep_batch_per_gpu: bool = False
) -> None:
    """Try all of a training that can be tried before anything is built.

    Batches are accumulated to the config's ``total_batch_size``, in place,
    unless ``keep_batch_per_gpu`` leaves it to what the processes have.

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
    resume_command: str,
    dry: bool = False,
    quiet: bool = False,
) -> None:
    """Train, or, ``dry``, only try it: one update, and no file is left.

    ``cfg`` went through :func:`check_training`; ``resume_command`` is what a
    user types to go on after it was stopped.
    """
    trial = dry_run(cfg) if dry else nullcontext()
    with errors_named(cfg.work_dir), trial:
        runner = build_runner(cfg, launcher=launcher, quiet=quiet)
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
