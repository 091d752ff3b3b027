"""What workers fit on a cluster; and Python that has no Ray at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bimm_mm.contours.ray_cluster import fit_cpus

pytest.importorskip('ray', reason='Ray is an extra: requirements/ray.txt')

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'extract_contours.py'


@pytest.mark.parametrize(
    ('machines', 'asked', 'cpus'),
    [
        ([(8, 0)], {'workers': 2, 'gpus': 0}, 4),
        ([(64, 0)], {'workers': 1, 'gpus': 0}, 16),
        # A worker is on one machine: 3 of 5 cores would fit only in sum.
        ([(8, 0), (7, 0)], {'workers': 3, 'gpus': 0}, 4),
        ([(8, 2), (64, 0)], {'workers': 2, 'gpus': 1}, 4),
        ([(8, 1)], {'workers': 4, 'gpus': 0.25}, 2),
        ([(8, 0)], {'workers': 2, 'gpus': 0, 'wanted': 3}, 3),
    ],
)
def test_cores_are_shared_out(machines, asked, cpus):
    assert share_out(machines, **asked) == cpus


@pytest.mark.parametrize(
    ('machines', 'asked'),
    [
        ([(8, 0)], {'workers': 9, 'gpus': 0}),
        ([(8, 1), (8, 1)], {'workers': 3, 'gpus': 1}),
        ([(8, 0)], {'workers': 2, 'gpus': 0, 'wanted': 5}),
        ([(8, 1)], {'workers': 1, 'gpus': 2}),
    ],
)
def test_what_does_not_fit_is_refused(machines, asked):
    with pytest.raises(ValueError, match='ask for fewer workers'):
        share_out(machines, **asked)


def share_out(machines, *, workers, gpus, wanted=None) -> int:
    nodes = [
        {'Alive': True, 'Resources': {'CPU': cpu, 'GPU': gpu}}
        for cpu, gpu in machines
    ]
    nodes.append({'Alive': False, 'Resources': {'CPU': 999, 'GPU': 999}})
    return fit_cpus(
        SimpleNamespace(nodes=lambda: nodes),
        workers=workers,
        gpus=gpus,
        cpus=wanted,
    )


# Python that cannot find Ray runs the tool with two launchers.
WITHOUT_RAY = """
import runpy, sys

class NoRay:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] == 'ray':
            raise ModuleNotFoundError(f'No module named {name!r}')

sys.meta_path.insert(0, NoRay())
tool, data, out = sys.argv[1:]
for launcher in ('ray', 'none'):
    sys.argv = [tool, data, '--out', out, '--detector', 'sobel']
    sys.argv += ['--device', 'cpu', '--launcher', launcher]
    try:
        runpy.run_path(tool, run_name='__main__')
    except SystemExit as end:
        print('END', launcher, end.code)
"""


@pytest.mark.slow
def test_without_ray_one_line_says_how_to_install_it(tmp_path, write_pictures):
    write_pictures(tmp_path / 'data', [32])
    done = subprocess.run(
        [
            *(sys.executable, '-c', WITHOUT_RAY, TOOL),
            *(tmp_path / 'data', tmp_path / 'out'),
        ],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    ends = [x for x in done.stdout.splitlines() if x.startswith('END')]
    assert len(ends) == 2 and ends[1] == 'END none 0'
    assert 'extract_contours.py: error: --launcher ray needs Ray' in ends[0]
    assert "No module named 'ray'" in ends[0]
    assert 'pip install -r requirements/ray.txt' in ends[0]
    assert (tmp_path / 'out/0.png.zip').is_file()
