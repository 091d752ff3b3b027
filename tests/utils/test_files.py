"""Files are whole or not there."""

from __future__ import annotations

import json
import math
import os
import re
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from mmengine.fileio import load

import bimm_mm.compat  # noqa: F401  fixes MMEngine's reading
from bimm_mm.apis.clip_files import read_table
from bimm_mm.apis.config import load_config
from bimm_mm.apis.curves import read_scalars
from bimm_mm.apis.folders import read_data
from bimm_mm.apis.presets import read_preset
from bimm_mm.contours.format import Manifest
from bimm_mm.datasets.ava import AVAKeyframeDataset
from bimm_mm.registry import DATASETS
from bimm_mm.utils.files import (
    atomic_path,
    sha256_of_file,
    write_json,
    write_reasons,
    write_text,
)
from bimm_mm.utils.list_file import read_lines
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


def _config_on(base):
    config = base.with_name('config.py')
    config.write_text(f'_base_ = {str(base)!r}\n')
    load_config(config)


# By a name that it has in a folder of the user's: what reads it there.
READ = {
    'any.pth': sha256_of_file,
    'train.txt': lambda path: read_lines(str(path)),
    'labels.csv': lambda path: read_table(path, path.parent),
    'data.json': lambda path: read_data(path.parent),
    'labels.json': lambda path: read_preset('ssv2', path.parent, path.parent),
    'manifest.json': lambda path: Manifest.read(str(path.parent)),
    'run/vis_data/scalars.json': lambda path: read_scalars(path.parents[2]),
    'base.py': _config_on,
    'coco.json': lambda path: DATASETS.build(
        dict(type='mmdet.CocoDataset', ann_file=str(path), pipeline=[])
    ),
    'actions.pbtxt': lambda path: AVAKeyframeDataset(
        {'label_file': str(path)}
    ),
    'persons.pkl': load,
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize('name', READ)
def test_what_has_no_end_is_not_read(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / 'videos').mkdir()
    (tmp_path / 'videos' / 'a.mp4').touch()
    path.symlink_to(os.devnull)
    for kind in ('a device', 'a pipe'):
        with pytest.raises(ValueError, match=f'{path.name} is {kind}, not a'):
            READ[name](path)
        path.unlink()
        os.mkfifo(path)
