"""The notebooks run, one after the other, and are stored without outputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bimm_mm.registry import MODELS
from tests.videos import write_video

FOLDER = Path(__file__).resolve().parent.parent / 'docs' / 'notebooks'
# The videos of the second are those of the first.
ORDER = ('own_videos', 'encoder', 'add_target')


@pytest.fixture
def videos(tmp_path, monkeypatch) -> None:
    """Two classes: squares that move to the left, and to the right."""
    monkeypatch.chdir(tmp_path)
    for name, step in (('left', -2), ('right', 2)):
        for number in range(5):
            pictures = np.full((16, 32, 48, 3), 20 * number, np.uint8)
            for frame, picture in enumerate(pictures):
                left = 20 + (frame - 8) * step
                picture[8:20, left : left + 10] = 255
            write_video(tmp_path / 'videos' / name / f'{number}.mp4', pictures)


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
