"""The report comes whatever is missing or broken, and says what to do."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from bimm_mm import doctor
from tests.processes import ROOT, run_command

NAMES = [check.name for check in doctor.CHECKS]


def report(python: str) -> subprocess.CompletedProcess[str]:
    return run_command(python, '-m', 'bimm_mm.doctor', cwd=ROOT)


def seen(output: str) -> dict[str, str]:
    """Status, what was seen and the remedy, by check."""
    found: dict[str, str] = {}
    for line in output.splitlines():
        name, _, rest = line.partition(' ')
        if name in NAMES:
            found[name] = rest.strip()
        elif rest.strip().startswith('remedy:'):
            found[list(found)[-1]] += f' | {rest.strip()}'
    return found


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


def test_the_tested_set_passes(capsys):
    doctor.main()
    said = capsys.readouterr().out
    found = seen(said)
    assert list(found) == NAMES
    assert all(text.startswith('ok') for text in found.values()), said
    assert 'nms ran on cpu' in found['mmcv.ops']
    assert 'decoded frames (2, ' in found['av']
    assert said.endswith('all that training needs works\n')


def test_without_any_library_each_remedy_is_named(bare):
    done = report(bare.python)
    assert done.returncode == 1 and 'checks failed' in done.stderr
    assert 'Traceback' not in done.stdout + done.stderr
    found = seen(done.stdout)
    assert list(found) == NAMES
    assert found['Python'].startswith('ok')
    assert found['mmdet'].startswith('note')
    assert found['torch'].startswith('FAIL  missing (tested: 2.')
    for name, package in {
        'torch': 'torch',
        'OpenCV': 'opencv-contrib-python-headless',
        'mmaction2': '--no-deps mmaction2',
        'mmcv.ops': '--no-deps mmcv-lite',
    }.items():
        assert found[name].startswith('FAIL')
        assert f'remedy: run "pip install {package}"' in found[name]


@pytest.mark.parametrize(
    ('error', 'remedy'),
    [
        (
            'libGL.so.1: cannot open shared object file: No such file',
            'pip install opencv-contrib-python-headless',
        ),
        ('libxcb.so.1: cannot open shared object', 'system library libxcb'),
        ("No module named 'pkg_resources'", "pip install 'setuptools<81'"),
        ('mmcv/_ext.so: undefined symbol: _ZN2at', 'mmcv-lite==2.1.0'),
        (
            'MMCV==2.2.0 is used but incompatible. Please install '
            'mmcv>=2.0.0rc4, <2.2.0.',
            "mmcv-lite>=2.0.0rc4,<2.2.0'",
        ),
        ('module compiled using NumPy 1.x cannot run', 'numpy==2.2.6'),
        ('something new', 'pip uninstall -y opencv-python'),
    ],
)
def test_every_import_failure_has_its_remedy(bare, error, remedy):
    (bare.site / 'cv2.py').write_text(f'raise ImportError({error!r})')
    found = seen(report(bare.python).stdout)['OpenCV']
    assert found.startswith('FAIL') and error[:20] in found
    assert remedy in found


def test_a_library_that_crashes_is_the_last_one_named(bare):
    (bare.site / 'cv2.py').write_text('import os\nos.abort()\n')
    done = report(bare.python)
    assert done.returncode == -6
    assert done.stdout.splitlines()[-1].startswith('OpenCV')


def test_two_builds_of_opencv_are_named_and_prints_are_kept_out(bare):
    (bare.site / 'cv2.py').write_text('print("hello")\n__version__ = "4"\n')
    for build, number in {'': '4.10.0', '_contrib': '4.11.0'}.items():
        info = bare.site / f'opencv{build}_python-{number}.dist-info'
        info.mkdir()
        name = f'opencv{build}-python'.replace('_', '-')
        (info / 'METADATA').write_text(
            f'Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n'
        )
        (info / 'top_level.txt').write_text('cv2\n')
    done = report(bare.python)
    assert 'hello' not in done.stdout
    found = seen(done.stdout)['OpenCV']
    assert found.startswith('FAIL') and 'contrib-python 4.11.0' in found
    assert 'pip install opencv-contrib-python-headless' in found
