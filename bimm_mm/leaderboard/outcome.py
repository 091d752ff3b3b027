"""Whether a step has its result already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bimm_mm.leaderboard.machine import sha256
from bimm_mm.leaderboard.origin import RESULT, read_json


def finished_training(work_dir: Path, last: Path) -> bool:
    """Whether a training wrote its last checkpoint, to the end.

    MMEngine writes the file ``last_checkpoint`` when a checkpoint is
    complete; one that is not mentioned there may be cut off.

    Args:
        work_dir (Path): Work directory of the training.
        last (Path): Its last checkpoint.
    """
    pointer = work_dir / 'last_checkpoint'
    if not (last.is_file() and pointer.is_file()):
        return False
    return Path(pointer.read_text().strip()).name == last.name


def result_of(work_dir: Path, checkpoint: Path) -> dict[str, Any] | None:
    """The latest result of a checkpoint, as it is now.

    Args:
        work_dir (Path): Where the test wrote.
        checkpoint (Path): The checkpoint.

    Returns:
        dict, optional: The record; None if this file was not tested.
    """
    paths = sorted(work_dir.glob(f'*/{RESULT}'))
    if not (paths and checkpoint.is_file()):
        return None
    current = sha256(checkpoint)
    for path in reversed(paths):
        record = read_json(path)
        if record.get('checkpoint', {}).get('sha256') == current:
            return record
    return None
