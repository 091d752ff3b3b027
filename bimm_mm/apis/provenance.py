"""What a training or a test was started with, as a file beside its log."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import torch
from mmengine.dist import get_world_size, master_only
from mmengine.runner import Runner
from torch.utils.data import Dataset

from bimm_mm.utils.files import write_text
from bimm_mm.version import __version__

_ROOT = Path(__file__).resolve().parents[2]


@master_only
def write_provenance(runner: Runner, dataset: Dataset) -> None:
    """Write ``provenance.json`` into the folder of the runner's log.

    It has the command, the revision of this code, the machine, the number of
    samples of the dataset and the config.

    Args:
        runner: Not started yet.
        dataset: What it is about to train or to test on.
    """
    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else 'CPU'
    record = {
        'command': shlex.join(['python', *sys.argv]),
        'revision': _revision(),
        'machine': f'{get_world_size()} x {device}, torch {torch.__version__}',
        'samples': len(dataset),  # type: ignore[arg-type]
        'config': runner.cfg.to_dict(),
    }
    text = json.dumps(record, indent=2, default=str)
    write_text(text, Path(runner.log_dir) / 'provenance.json')


def _revision() -> str:
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
