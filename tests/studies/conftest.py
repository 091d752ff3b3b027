"""Twelve real clips in two folds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from studies.mini.data import StudyData, write_list

CLASSES = ('hugging', 'kicking', 'pointing')
PER_CLASS = 4
PRETRAINING = 'units/toy-clips-train/videomae/seed0/fold0-pretrain'
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _one_thread(one_thread) -> None:
    """For all tests of the study."""


@pytest.fixture
def clip_folder(data_root) -> Path:
    """Folder with a folder of real clips per class."""
    folder = data_root / 'action_mini' / 'ut_interaction' / 'videos_sq'
    if not folder.is_dir():
        pytest.skip(f'no real clips at {folder}')
    return folder


@pytest.fixture
def study_lists(clip_folder, tmp_path) -> tuple[str, str]:
    """List files of 12 clips, every other clip in either fold's test."""
    folder = tmp_path / 'lists'
    folds = tuple(
        str(folder / f'fold{{}}_{part}.txt') for part in ('train', 'val')
    )
    halves: list[dict[str, int]] = [{}, {}]
    for label, name in enumerate(CLASSES):
        clips = sorted((clip_folder / name).glob('*.mp4'))[:PER_CLASS]
        for index, clip in enumerate(clips):
            halves[index % 2][f'{name}/{clip.name}'] = label
    for number in range(2):
        write_list(halves[1 - number], folds[0].format(number))
        write_list(halves[number], folds[1].format(number))
    return folds


@pytest.fixture
def study_data(clip_folder, study_lists, tmp_path) -> StudyData:
    """12 real clips, 3 classes, 2 folds."""
    return StudyData.read(
        clip_folder, folds=study_lists, name='toy', home=tmp_path
    )


class StudyHome(NamedTuple):
    """A study of real clips at toy size, run by two calls of the driver.

    Args:
        home (Path): Its folder, with ``results.json``.
        command (list[str]): What was called.
        stopped (str): What the first call printed; it was told to stop.
        finished (str): What the second one printed.
        begun (dict): Record of VideoMAE's pretraining after the first.
    """

    home: Path
    command: list[str]
    stopped: str
    finished: str
    begun: dict


@pytest.fixture(scope='session')
def study_home(data_root, tmp_path_factory) -> StudyHome:
    """VideoMAE and BIMM, one seed, one fold, stopped once and resumed."""
    folder = tmp_path_factory.mktemp('study')
    videos = data_root / 'action_mini' / 'ut_interaction' / 'videos_sq'
    if not videos.is_dir():
        pytest.skip(f'no real clips at {videos}')
    halves: list[dict[str, int]] = [{}, {}]
    for label, name in enumerate(CLASSES):
        clips = sorted((videos / name).glob('*.mp4'))[:PER_CLASS]
        for index, clip in enumerate(clips):
            halves[index % 2][f'{name}/{clip.name}'] = label
    for part, half in zip(('train', 'val'), halves, strict=True):
        write_list(half, folder / f'fold0_{part}.txt')
    home = folder / 'home'
    command = [
        sys.executable,
        *('-m', 'studies.mini.run', f'--videos={videos}', '--name=toy'),
        *('--folds', f'{folder}/fold{{}}_train.txt'),
        *(f'{folder}/fold{{}}_val.txt', f'--home={home}', '--size=toy'),
        *('--methods', 'videomae', 'bimm', '--seeds', '0', '--fold', '0'),
        *('--minutes', '4', '--device', 'cpu'),
    ]
    stopped = _stop_during_pretraining(command, home)
    record = home / PRETRAINING / 'record.json'
    begun = json.loads(record.read_text())
    finished = _call(command).communicate(timeout=240)[0]
    return StudyHome(home, command, stopped, finished, begun)


def _call(command: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _stop_during_pretraining(command: list[str], home: Path) -> str:
    process = _call(command)
    # Made when the runner is, before the first step.
    log = home / PRETRAINING
    end = time.monotonic() + 120
    while not list(log.glob('2*')) and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.02)
    process.terminate()
    return process.communicate(timeout=120)[0]
