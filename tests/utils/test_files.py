"""Files are whole or not there."""

from __future__ import annotations

import json
import math
import re
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from bimm_mm.contours.format import Manifest
from bimm_mm.utils.files import (
    atomic_path,
    write_json,
    write_reasons,
    write_text,
)
from bimm_mm.utils.video_copy import CopySettings


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / 'a' / 'b.json'
    write_json({'x': 1}, path)
    with pytest.raises(OSError, match='disk full'), atomic_path(path) as draft:
        draft.write_text('half')
        raise OSError('disk full')
    assert json.loads(path.read_text()) == {'x': 1}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    'claim',
    [
        lambda number, path: Manifest(
            {'detector': 'canny', 'stride': number}, ''
        ).write(str(path)),
        lambda number, path: CopySettings(every=number).claim(path),
    ],
    ids=['contours', 'copies'],
)
def test_of_two_that_start_at_once_one_is_refused(claim, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        for number in range(50):
            gate, path = Barrier(2), tmp_path / str(number)

            def start(every, gate=gate, path=path):
                gate.wait()
                claim(every, path)

            started = [pool.submit(start, every) for every in (2, 3)]
            (error,) = filter(None, [x.exception() for x in started])
            assert isinstance(error, ValueError) and str(path) in str(error)
            assert {'2', '3'} <= {*re.findall(r'\b[23]\b', str(error))}
            (file,) = path.iterdir()
            assert file.suffix == '.json'


def test_json_is_strict(tmp_path):
    """mmaction2's AVAMetric is NaN for actions that do not occur."""
    path = tmp_path / 'result.json'
    metrics = {'map': 0.5, 'rest': [math.nan, (math.inf, 1)]}
    metrics['mIoU'] = [np.float32(0.25), np.float32('nan'), np.int64(3)]
    write_json(metrics, path)
    strict = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert strict == {
        'map': 0.5,
        'rest': [None, [None, 1]],
        'mIoU': [0.25, None, 3],
    }


def test_names_keep_their_bytes_and_their_line(tmp_path):
    names = {'\udcff\n\t.mp4': 'bad', 'a.mp4': 'empty'}
    write_reasons(names, tmp_path / 'list.txt')
    assert (tmp_path / 'list.txt').read_bytes() == (
        b'a.mp4\tempty\n\xff  .mp4\tbad\n'
    )


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    (tmp_path / 'file').touch()
    path = tmp_path / 'file' / 'x.txt'
    with pytest.raises(NotADirectoryError) as error:
        write_text('x', path)
    assert error.value.filename == str(path)
