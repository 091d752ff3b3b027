"""Contours by Ray's workers: the files of one process, whatever happens."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bimm_mm.contours.compression import Compression
from bimm_mm.contours.plan import Plan
from bimm_mm.contours.ray_launcher import run_ray
from bimm_mm.contours.report import Report
from bimm_mm.contours.units import Unit, find_units

pytest.importorskip('ray', reason='Ray is an extra: requirements/ray.txt')

ROOT = Path(__file__).resolve().parents[2]
# Kills its process at pictures that are 40 px wide, the first time at those
# that are 48 px wide, and fails at those that are 56 px wide.
DEADLY = """
import os, signal
from pathlib import Path
from bimm_mm.contours.detectors.sobel import SobelDetector

class Deadly(SobelDetector):
    def __init__(self, *, device='cpu', folder=''):
        super().__init__(device=device)
        self.folder = folder

    def detect(self, frames):
        width, seen = frames.shape[3], Path(self.folder, 'seen')
        if width == 56:
            raise RuntimeError('no more memory')
        if width == 40 or width == 48 and not seen.exists():
            with Path(self.folder, f'deaths_{width}').open('a') as deaths:
                deaths.write('x')
            if width == 48:
                seen.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().detect(frames)
"""


def make_plan(data: Path, out: Path, **changes) -> Plan:
    return Plan(
        **{
            'data_root': str(data),
            'contour_root': str(out),
            'detector': 'sobel',
            'weights': None,
            'options': {},
            'packing': Compression(),
            'stride': 16,
            'side': 64,
            'batch': 4,
            'command': 'none',
            **changes,
        }
    )


def in_one_process(plan: Plan, units: list[Unit]) -> Report:
    extractor = plan.build('cpu')
    return sum(map(extractor.extract, units), Report())


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def processes_with(mark: str) -> list[str]:
    """Commands of the processes that have a text in their environment."""
    found = []
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            if mark.encode() in (folder / 'environ').read_bytes():
                found.append((folder / 'cmdline').read_text())
        except OSError:
            continue
    return found


@pytest.fixture(scope='module')
def running(tmp_path_factory) -> Iterator[Path]:
    """A cluster that is there already; in a folder with a detector."""
    import ray

    folder = tmp_path_factory.mktemp('module')
    (folder / 'deadly_detector.py').write_text(DEADLY)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    paths = os.pathsep.join([str(folder), str(ROOT)])
    ray.init(
        'local',
        num_cpus=2,
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={'env_vars': {'PYTHONPATH': paths}},
    )
    yield folder
    ray.shutdown()
    sys.path.remove(str(folder))


@pytest.mark.slow
def test_two_workers_give_the_files_of_one_process(
    data_root, tmp_path, monkeypatch
):
    monkeypatch.delenv('RAY_ADDRESS', raising=False)
    videos = sorted((data_root / 'clips').rglob('*.mp4'))
    videos = sorted(videos, key=os.path.getsize)[:4]
    images = sorted((data_root / 'seg_mini/camvid11/images').rglob('*.jpg'))
    (tmp_path / 'data/images').mkdir(parents=True)
    for path in videos:
        shutil.copy(path, tmp_path / 'data')
    for path in images[:5]:
        shutil.copy(path, tmp_path / 'data/images')
    (tmp_path / 'data/broken.mp4').write_bytes(videos[0].read_bytes()[:2000])
    # A relative path, which Ray's processes must see as this one does.
    monkeypatch.chdir(tmp_path)
    units = find_units('data', group=2)
    expected = in_one_process(make_plan(Path('data'), Path('one')), units)
    assert expected.files == 9 and len(expected.failed) == 1

    before = sorted(os.listdir(ROOT))
    monkeypatch.setenv('BIMM_TEST_MARK', str(tmp_path))
    plan = make_plan(Path('data'), Path('two'))
    # One file is finished, and must stay as it is.
    done = in_one_process(plan, units[-1:])
    last = tmp_path / 'two' / f'{units[-1].paths[0][5:]}.zip'
    written = last.stat().st_mtime_ns
    report = run_ray(plan, units, workers=2, cpus_per_worker=1)
    assert (report.files, report.skipped) == (9 - done.files, done.files)
    assert report.failed == expected.failed
    assert report.frames + done.frames == expected.frames
    assert report.bytes + done.bytes == expected.bytes
    assert contents(tmp_path / 'two') == contents(tmp_path / 'one')
    assert last.stat().st_mtime_ns == written

    import ray

    assert not ray.is_initialized()
    assert sorted(os.listdir(ROOT)) == before
    deadline = time.monotonic() + 20
    while processes_with(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_with(str(tmp_path)) == []


@pytest.mark.slow
def test_units_of_workers_that_died_are_done_again_or_given_up(
    running, tmp_path, write_pictures
):
    write_pictures(tmp_path / 'data', [32, 48, 40, 33])
    options = {'folder': str(tmp_path)}
    name = 'deadly_detector.Deadly'
    plan = make_plan(
        tmp_path / 'data', tmp_path / 'ray', detector=name, options=options
    )
    units = find_units(plan.data_root, group=1)
    report = run_ray(plan, units, workers=1, cpus_per_worker=1)
    [(path, reason)] = report.failed
    assert path == units[2].paths[0]
    assert '3 worker processes died while they had it' in reason
    assert (tmp_path / 'deaths_40').read_text() == 'xxx'
    assert (tmp_path / 'deaths_48').read_text() == 'x'
    plan = make_plan(
        tmp_path / 'data', tmp_path / 'one', detector=name, options=options
    )
    in_one_process(plan, units[:2] + units[3:])
    assert contents(tmp_path / 'ray') == contents(tmp_path / 'one')


@pytest.mark.slow
def test_errors_of_workers_are_those_of_one_process(
    running, tmp_path, write_pictures, capfd
):
    write_pictures(tmp_path / 'data', [32, 33, 56, 34, 35])
    plan = make_plan(
        tmp_path / 'data', tmp_path / 'ray', detector='deadly_detector.Deadly'
    )
    units = find_units(plan.data_root, group=1)
    with pytest.raises(ValueError, match='no more memory') as alone:
        in_one_process(plan, units)
    with pytest.raises(ValueError, match='no more memory') as remote:
        run_ray(plan, units, workers=1, cpus_per_worker=1)
    assert type(remote.value) is type(alone.value)
    assert str(remote.value) == str(alone.value)
    assert 'deadly_detector.py' in str(remote.value.__cause__)
    out, err = capfd.readouterr()
    assert 'Traceback' not in out + err
    assert len((out + err).splitlines()) < 5, out + err


def test_a_cluster_without_gpus_is_refused_at_once(
    running, tmp_path, write_pictures
):
    write_pictures(tmp_path / 'data', [32])
    plan = make_plan(tmp_path / 'data', tmp_path / 'ray')
    units = find_units(plan.data_root)
    with pytest.raises(ValueError, match=r'99 GPUs each do not fit.*fewer'):
        run_ray(plan, units, workers=1, gpus_per_worker=99)


def test_no_cluster_at_the_address(tmp_path, write_pictures, monkeypatch):
    import ray

    ray.shutdown()
    monkeypatch.setenv('RAY_ADDRESS', '127.0.0.1:9')
    write_pictures(tmp_path / 'data', [32])
    plan = make_plan(tmp_path / 'data', tmp_path / 'ray')
    with pytest.raises(ValueError, match=r'no Ray cluster answers at .*:9'):
        run_ray(plan, find_units(plan.data_root), workers=1)
