"""Contours by Ray's workers: the files of one process, whatever happens."""

from __future__ import annotations

import importlib
import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip('ray', reason='Ray is an extra')

from bimm_mm.contours import ray_extract
from bimm_mm.contours.config import ExtractionConfig
from bimm_mm.contours.extract import ExtractionError, extract_contours
from bimm_mm.contours.jobs import find_jobs
from bimm_mm.contours.ray_extract import extract_with_ray

# Kills its process at pictures that are 40 px wide, fails at those that are 56
# px wide.
DEADLY = """
import os, signal
from pathlib import Path
from bimm_mm.contours.detectors.edges import SobelDetector

class Deadly(SobelDetector):
    def __init__(self, *, device='cpu', folder=''):
        super().__init__(device=device)
        self.folder = folder

    def detect(self, frames):
        if frames.shape[3] == 56:
            raise RuntimeError('no more memory')
        if frames.shape[3] == 40:
            with Path(self.folder, 'deaths').open('a') as deaths:
                deaths.write('x')
            os.kill(os.getpid(), signal.SIGKILL)
        return super().detect(frames)
"""


@pytest.fixture(scope='module')
def cluster(tmp_path_factory):
    """A cluster that is there already; in a folder with a detector."""
    import ray

    folder = tmp_path_factory.mktemp('module')
    (folder / 'deadly_detector.py').write_text(DEADLY)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    paths = os.pathsep.join([str(folder), *sys.path])
    with pytest.MonkeyPatch.context() as patch:
        # Ray writes there, and not every user has a home.
        patch.setenv('HOME', str(folder))
        # By default Ray's workers wait for whatever else runs here.
        patch.setenv('RAY_worker_niceness', '0')
        ray.init(
            'local',
            num_cpus=2,
            object_store_memory=100 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            runtime_env={
                'env_vars': {'PYTHONPATH': paths},
                # Which may lie in a folder with a space.
                'py_executable': shlex.quote(sys.executable),
            },
        )
        yield folder
        ray.shutdown()
    sys.path.remove(str(folder))


def make(data: Path | str, out: Path | str, **options) -> ExtractionConfig:
    return ExtractionConfig(
        data_root=str(data),
        contour_root=str(out),
        detector='deadly_detector.Deadly',
        options=options,
        stride=16,
        side=64,
    )


@pytest.mark.slow
def test_two_workers_give_the_files_of_one_process(
    cluster, data_root, tmp_path, write_pictures, digests, monkeypatch
):
    """One file is finished, one broken, and one kills its workers."""
    monkeypatch.setattr(ray_extract, 'DEATHS', 2)
    write_pictures(tmp_path / 'data', [32, 40, 33])
    source = data_root / 'clips' / 'asl_gestures' / 'eat.mkv'
    shutil.copyfile(source, tmp_path / 'data' / source.name)
    (tmp_path / 'data/broken.mp4').write_bytes(source.read_bytes()[:2000])
    # A relative path, which Ray's processes must see as this one does.
    monkeypatch.chdir(tmp_path)
    jobs = find_jobs('data', group=1)
    deadly = [job for job in jobs if job.paths == ('data/1.png',)]
    one, two = (
        make('data', name, folder=str(tmp_path)) for name in ('one', 'two')
    )
    harmless = [job for job in jobs if job not in deadly]
    expected = extract_contours(one, harmless)
    assert expected.files == 3 and len(expected.failed) == 1
    extract_contours(two, harmless[-1:])
    stats = extract_with_ray(two, jobs, workers=2, threads=1)
    assert (stats.files, stats.skipped) == (2, 1)
    assert digests(tmp_path / 'two') == digests(tmp_path / 'one')
    broken, (path, reason) = stats.failed
    assert [broken] == expected.failed and path == 'data/1.png'
    assert '2 worker processes died while they had it' in reason
    assert (tmp_path / 'deaths').read_text() == 'xx'


def test_errors_of_workers_end_the_run(
    cluster, tmp_path, write_pictures, one_thread, monkeypatch
):
    """What a worker gives back is raised; nothing else is raised in it."""
    monkeypatch.chdir(tmp_path)  # as the worker does, and back
    write_pictures(tmp_path / 'data', [56])
    config = make(tmp_path / 'data', tmp_path / 'out')
    [job] = find_jobs(config.data_root)
    worker = ray_extract.Worker(config, 'cpu', 1, str(tmp_path))
    [error] = worker({'job': [job]})['result']
    assert isinstance(error, ExtractionError)
    assert 'no more memory' in str(error)


def test_a_cluster_without_gpus_is_refused_at_once(
    cluster, tmp_path, write_pictures
):
    write_pictures(tmp_path / 'data', [32])
    config = make(tmp_path / 'data', tmp_path / 'out')
    jobs = find_jobs(config.data_root)
    with pytest.raises(ValueError, match=r'99 GPUs each do not fit.*fewer'):
        extract_with_ray(config, jobs, workers=1, gpus_per_worker=99)


def test_no_cluster_at_the_address():
    with pytest.raises(ValueError, match=r'no Ray cluster answers at .*:9'):
        ray_extract._connect('127.0.0.1:9')
