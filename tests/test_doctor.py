"""The report comes whatever is missing or broken, and says what to do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bimm_mm import doctor, health

ROOT = Path(__file__).resolve().parent.parent


def report(python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, '-m', 'bimm_mm.doctor'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )


def lines_of(output: str) -> dict[str, str]:
    """What the report says of each check."""
    rows = [line.split(maxsplit=1) for line in output.splitlines()]
    names = [check.name for check in health.CHECKS]
    return {
        name: f'{row[0]} {row[1]}'
        for row in rows
        for name in names
        if len(row) == 2 and row[1].startswith(f'{name} ')
    }


@pytest.fixture
def bare(tmp_path):
    """A Python without any package, and its folder for packages."""
    subprocess.run(
        [sys.executable, '-m', 'venv', '--without-pip', tmp_path / 'bare'],
        check=True,
    )
    [site] = (tmp_path / 'bare').glob('lib/python*/site-packages')
    return SimpleNamespace(
        python=str(tmp_path / 'bare' / 'bin' / 'python'), site=site
    )


def pretend(site: Path, name: str, version: str) -> None:
    """Make a package look installed."""
    info = site / f'{name}-{version}.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(
        f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n'
    )


def test_the_tested_set_passes():
    done = report()
    assert done.returncode == 0, done.stdout
    seen = lines_of(done.stdout)
    assert set(seen) == {check.name for check in health.CHECKS}
    assert seen['mmcv.ops'].startswith('ok')
    assert 'decoded frames (2, ' in seen['decord']
    assert done.stdout.endswith('all that training needs works\n')


def test_without_any_library_each_remedy_is_named(bare):
    done = report(bare.python)
    assert done.returncode == 1
    seen = lines_of(done.stdout)
    assert set(seen) == {check.name for check in health.CHECKS}
    assert seen['torch'].startswith('FAIL')
    assert seen['Python'].startswith('ok') and seen['mmdet'].startswith('note')
    assert f'remedy: {health.SETUP}' in done.stdout
    assert 'torch                   missing' in done.stdout
    assert 'Traceback' not in done.stdout + done.stderr
    assert 'checks failed' in done.stderr


def test_a_library_that_crashes_does_not_end_the_report(bare):
    (bare.site / 'cv2.py').write_text('import os\nos.abort()\n')
    seen = lines_of(report(bare.python).stdout)
    assert seen['OpenCV'].split(maxsplit=2)[2].startswith('crashed (exit -6)')
    assert seen['disk'].startswith('ok')


def test_a_library_that_prints_does_not_spoil_the_report(bare):
    (bare.site / 'cv2.py').write_text('print("hello")\n__version__ = "4"\n')
    done = report(bare.python)
    assert 'hello' not in done.stdout
    assert lines_of(done.stdout)['OpenCV'].split() == ['ok', 'OpenCV', '4']


def test_two_versions_of_opencv_and_mmcv_lite_are_told(bare):
    pretend(bare.site, 'opencv_python', '4.10.0')
    pretend(bare.site, 'opencv_contrib_python', '4.11.0')
    pretend(bare.site, 'mmcv_lite', '2.1.0')
    done = report(bare.python)
    seen = lines_of(done.stdout)
    assert 'opencv-contrib-python 4.11.0' in seen['OpenCV']
    assert seen['OpenCV'].startswith('FAIL')
    assert 'mmcv-lite is installed, which has no ops' in seen['mmcv.ops']
    assert 'mmcv-lite               2.1.0  (tested with none)' in done.stdout


def test_a_check_that_hangs_is_given_up(bare, monkeypatch):
    (bare.site / 'cv2.py').write_text('import time\ntime.sleep(600)\n')
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(doctor.sys, 'executable', bare.python)
    monkeypatch.setattr(doctor, 'SECONDS', 2)
    first = [check.name for check in health.CHECKS].index('OpenCV')
    assert doctor.child_from(first) == ([], 'gave no answer in 2 s')


def test_a_full_disk_is_told(monkeypatch):
    monkeypatch.setattr(
        shutil, 'disk_usage', lambda _: SimpleNamespace(free=2**30, total=0)
    )
    [disk] = [check for check in health.CHECKS if check.name == 'disk']
    status, text = doctor.attempt(disk)
    assert status == 'note' and text.endswith('1.0 GB free in this folder')


def test_small_shared_memory_is_told(monkeypatch):
    monkeypatch.setattr(
        shutil,
        'disk_usage',
        lambda _: SimpleNamespace(free=2**40, total=2**26),
    )
    with pytest.raises(RuntimeError, match='/dev/shm is smaller'):
        health.check_disk()


def test_tested_versions_come_from_the_requirements(tmp_path):
    (tmp_path / 'runtime.txt').write_text('# a comment == b\n\nnumpy==9.8\n')
    assert doctor.tested_versions(tmp_path) == {'numpy': '9.8'}
    assert doctor.tested_versions(tmp_path / 'none') == {}
