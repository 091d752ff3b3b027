"""Steps that take as long as the reference method's pretraining."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from mmengine.dist import get_world_size

from studies.mini.results import Record


def hardware() -> dict[str, Any]:
    """Devices, number of processes and version of PyTorch."""
    cuda = torch.cuda.is_available()
    return {
        'device': torch.cuda.get_device_name() if cuda else 'CPU',
        'processes': get_world_size(),
        'torch': torch.__version__,
    }


def seconds(record: Record) -> float:
    """Seconds of the steps alone, at the median speed.

    Not the wall time: that has starts, compilation and interruptions in it,
    which say nothing about a method.
    """
    return record['steps'] / record['steps_per_second']


def scaled_steps(reference: Record, stages: Sequence[Record]) -> list[int]:
    """Steps of a method's stages, so that all take the reference's time.

    Args:
        reference (dict): VideoMAE's pretraining in the budget of clips.
        stages (Sequence[dict]): The method's own stages in that budget, the
            ventral one first if there is one. All are scaled alike.

    Returns:
        list[int]: Of every stage, at least 1, rounded down.
    """
    scale = seconds(reference) / sum(seconds(stage) for stage in stages)
    return [max(1, math.floor(scale * stage['steps'])) for stage in stages]


def check_alike(
    records: Iterable[Record], *, jobs: int, compile: bool
) -> None:
    """Refuse times that cannot be compared.

    Args:
        records (Iterable[dict]): Finished units of the budget of clips.
        jobs (int): Units that run at the same time, now.
        compile (bool): Whether models are compiled, now.

    Raises:
        ValueError: If they ran on other hardware, or otherwise.
    """
    now = {'hardware': hardware(), 'jobs': jobs, 'compile': compile}
    for record in records:
        for key, value in now.items():
            if record[key] != value:
                raise ValueError(
                    f'{record["id"]} ran with {key}={record[key]} and this '
                    f'call runs with {key}={value}: times of both cannot be '
                    'compared. Run --budget time where, and as, the budget '
                    'of clips was run'
                )
        if not record['steps_per_second']:
            raise ValueError(
                f'{record["id"]} was too short to measure its speed: the '
                'budget of time needs at least 10 steps'
            )
