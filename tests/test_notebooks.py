"""The notebooks run, one after the other, and are stored without outputs."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from bimm_mm.registry import MODELS

FOLDER = Path(__file__).resolve().parent.parent / 'docs' / 'notebooks'
# The videos of the second are those of the first.
ORDER = ('own_videos', 'encoder', 'add_target')


@pytest.fixture
def videos(tmp_path, monkeypatch) -> None:
    """Two classes: squares that move to the left, and to the right."""
    monkeypatch.chdir(tmp_path)
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


def test_notebooks_run_as_they_are_stored(videos):
    assert {path.stem for path in FOLDER.glob('*.ipynb')} == set(ORDER)
    scope: dict = {'__name__': 'notebook'}
    try:
        for name in ORDER:
            text = (FOLDER / f'{name}.ipynb').read_text(encoding='utf-8')
            for cell in json.loads(text)['cells']:
                assert not cell.get('outputs'), name
                if cell['cell_type'] == 'code':
                    code = compile(''.join(cell['source']), name, 'exec')
                    exec(code, scope)
    finally:
        MODELS.module_dict.pop('GrayTarget', None)
