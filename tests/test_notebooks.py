"""The notebooks run, one after the other, and are stored without outputs."""

from __future__ import annotations

from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / 'docs' / 'notebooks'
# The second loads what the first has trained.
ORDER = ('own_videos', 'encoder', 'add_target')


@pytest.fixture
def videos(tmp_path) -> Path:
    """Two classes: squares that move to the left, and to the right."""
    for name, step in (('left', -2), ('right', 2)):
        folder = tmp_path / 'videos' / name
        folder.mkdir(parents=True)
        for number in range(5):
            size, codec = (48, 32), cv2.VideoWriter.fourcc(*'mp4v')
            path = str(folder / f'{number}.mp4')
            writer = cv2.VideoWriter(path, codec, 25, size)
            for frame in range(16):
                picture = np.full((32, 48, 3), 20 * number, np.uint8)
                left = 20 + (frame - 8) * step
                picture[8:20, left : left + 10] = 255
                writer.write(picture)
            writer.release()
    return tmp_path


def test_notebooks_run_as_they_are_stored(videos, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    together = nbformat.v4.new_notebook()
    for name in ORDER:
        stored = nbformat.read(FOLDER / f'{name}.ipynb', as_version=4)
        for cell in stored.cells:
            assert not cell.get('outputs'), name
        together.cells += stored.cells
    client = NotebookClient(
        together, timeout=200, resources={'metadata': {'path': str(videos)}}
    )
    client.execute()
    assert sorted(path.stem for path in FOLDER.glob('*.ipynb')) == sorted(
        ORDER
    )
