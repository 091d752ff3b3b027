"""Videos of noise, and what the command makes of a folder of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from bimm_mm import cli
from tests.videos import write_video


def record(path: Path, seed: int, *, frames: int = 6) -> Path:
    """A video of noise, 48 x 32 pixels, that no other seed has."""
    rng = np.random.default_rng(seed)
    tiles = [rng.integers(0, 255, (4, 6, 3), np.uint8) for _ in range(frames)]
    return write_video(path, [x.repeat(8, 0).repeat(8, 1) for x in tiles])


def scan(folder: Path, *flags: object, status: int = 0) -> dict:
    """Run the command into ``data`` beside the folder; gives data.json."""
    out = folder.parent / 'data'
    words = ['data', 'scan', folder, '--out', out, '--jobs', 2, *flags]
    with pytest.raises(SystemExit) as caught:
        cli.main([str(word) for word in words])
    assert (caught.value.code or 0) == status
    return {} if status else json.loads((out / 'data.json').read_text())


def table(folder: Path) -> dict[str, dict[str, str]]:
    """Rows of files.csv by path."""
    with open(folder.parent / 'data' / 'files.csv', newline='') as file:
        return {row['path']: row for row in csv.DictReader(file)}


def listed(folder: Path, name: str) -> list[tuple[str, int]]:
    """Paths and labels of a list."""
    lines = (folder.parent / 'data' / name).read_text().splitlines()
    return [(path, int(label)) for path, label in map(str.split, lines)]
