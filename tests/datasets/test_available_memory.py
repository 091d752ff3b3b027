"""Memory that is left, from files as Linux writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bimm_mm.datasets.available_memory import available_memory

_GIB = 2**30


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with 8 GiB available; returns its root."""
    (tmp_path / 'proc/self').mkdir(parents=True)
    (tmp_path / 'proc/meminfo').write_text(
        'MemTotal:       16777216 kB\n'
        'MemFree:         1048576 kB\n'
        'MemAvailable:    8388608 kB\n'
    )
    return tmp_path


def _available(root: Path) -> float:
    return available_memory(proc=root / 'proc', cgroups=root / 'cgroup') / _GIB


def _group(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f'{text}\n')


def _v2(limit: str, used: int, cache: int = 0) -> dict[str, str]:
    return {
        'memory.max': limit,
        'memory.current': str(used),
        'memory.stat': f'anon 5\ninactive_file {cache}',
    }


def test_without_groups(machine: Path) -> None:
    assert _available(machine) == 8


def test_group_above_counts(machine: Path) -> None:
    (machine / 'proc/self/cgroup').write_text('0::/slurm/job/step\n')
    _group(machine / 'cgroup/slurm/job/step', _v2('max', _GIB))
    limit = str(4 * _GIB)
    _group(machine / 'cgroup/slurm/job', _v2(limit, 3 * _GIB, _GIB))
    # What is file cache can be taken: 4 - (3 - 1).
    assert _available(machine) == 2


def test_container_sees_its_group_as_the_top(machine: Path) -> None:
    (machine / 'proc/self/cgroup').write_text('0::/docker/outside\n')
    _group(machine / 'cgroup', _v2(str(3 * _GIB), _GIB))
    assert _available(machine) == 2


def test_version_1(machine: Path) -> None:
    lines = '5:cpu,cpuacct:/a\n4:memory:/a\n0::/\n'
    (machine / 'proc/self/cgroup').write_text(lines)
    files = {
        'memory.limit_in_bytes': str(2 * _GIB),
        'memory.usage_in_bytes': str(_GIB),
        'memory.stat': f'inactive_file 0\ntotal_inactive_file {_GIB // 2}',
    }
    _group(machine / 'cgroup/memory/a', files)
    assert _available(machine) == 1.5
    # No limit is a number beyond all memory there.
    unlimited = {**files, 'memory.limit_in_bytes': '9223372036854771712'}
    _group(machine / 'cgroup/memory/a', unlimited)
    assert _available(machine) == 8


def test_more_in_use_than_allowed(machine: Path) -> None:
    (machine / 'proc/self/cgroup').write_text('0::/a\n')
    _group(machine / 'cgroup/a', _v2(str(_GIB), 2 * _GIB))
    assert _available(machine) == 0


def test_not_linux(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r'Linux only.*plain VideoDataset'):
        _available(tmp_path)


@pytest.mark.skipif(not Path('/proc/meminfo').is_file(), reason='Linux')
def test_this_machine() -> None:
    assert 2**20 < available_memory() < 2**50
