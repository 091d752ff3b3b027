"""What tools/setup_env.sh says when it cannot go on, and what it notices."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bimm_mm.doctor import tested_versions

ROOT = Path(__file__).resolve().parent.parent
LIB = ROOT / 'tools' / 'env_lib.sh'
CHECK = ROOT / 'tools' / 'check_env.py'
REAL = f'exec {sys.executable} "$@"'


class Machine:
    """A PATH of our own, in which programs can be missing or replaced."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.venv = folder / 'bin', folder / 'venv'
        self.bin.mkdir()
        for program in Path('/usr/bin').iterdir():
            (self.bin / program.name).symlink_to(program)
        self.env = {
            'PATH': str(self.bin),
            'HOME': str(folder),
            'VENV': str(self.venv),
            'BIMM_CUDA': '0',
            'PIP_CONFIG_FILE': os.devnull,
        }
        for version in ('', '3', '3.10', '3.11', '3.12'):
            self.lose(f'python{version}')
        self.put('python3.11', REAL)

    def lose(self, *names: str) -> None:
        for name in names:
            (self.bin / name).unlink(missing_ok=True)

    def put(self, name: str, script: str) -> None:
        self.lose(name)
        (self.bin / name).write_text(f'#!/bin/bash\n{script}\n')
        (self.bin / name).chmod(0o755)

    def setup(self, *args: str, **env: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ['bash', str(ROOT / 'tools' / 'setup_env.sh'), *args],
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=200,
        )

    def refusal(self, **env: str) -> str:
        """The last line of a setup that must fail before it makes anything."""
        done = self.setup(**env)
        assert done.returncode == 1, done.stdout + done.stderr
        assert not self.venv.exists()
        lines = done.stderr.strip().splitlines()
        assert lines and lines[-1].startswith('setup: ')
        return lines[-1]


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


def test_no_python(machine):
    machine.lose('python3.11')
    said = machine.refusal()
    assert 'no Python 3.10, 3.11 or 3.12 was found' in said
    assert 'PYTHON=/path/to/python3.11' in said


def test_a_python_that_is_too_old_does_not_count(machine):
    machine.lose('python3.11')
    machine.put('python3', 'echo 3.9')
    assert 'no Python 3.10, 3.11 or 3.12' in machine.refusal()


def test_a_python_that_is_named_and_does_not_work(machine):
    assert 'PYTHON=/no/python is not a' in machine.refusal(PYTHON='/no/python')


def test_a_shim_that_fails_is_passed_over(machine):
    machine.put('python3.11', 'echo "command not found" >&2; exit 127')
    machine.put('python3.12', REAL)
    machine.lose('git')
    assert 'git was not found' in machine.refusal()


def test_a_python_without_venv(machine):
    machine.put('python3.11', 'case "$2" in *venv*) exit 1 ;; esac; echo 3.11')
    assert 'apt-get install python3.11-venv' in machine.refusal()


def test_no_compiler(machine):
    machine.lose('c++', 'g++', 'gcc', 'cc', 'clang++')
    assert 'apt-get install g++' in machine.refusal()


def test_no_compiler_is_needed_where_the_wheel_is_kept(machine, tmp_path):
    machine.lose('c++')
    pin = tested_versions()
    tag = f'cp3{sys.version_info[1]}-torch{pin["torch"]}-cpu'
    wheel = tmp_path / 'wheels' / tag / f'mmcv-{pin["mmcv"]}-cp.whl'
    wheel.parent.mkdir(parents=True)
    wheel.touch()
    machine.put('df', 'echo "disk 9 9 1048576 9% /"')
    said = machine.refusal(BIMM_WHEELS=str(tmp_path / 'wheels'))
    assert 'C++ compiler' not in said and 'GB free' in said


def test_a_full_disk(machine):
    machine.put('df', 'echo "disk 99999999 99999999 5242880 99% /"')
    said = machine.refusal()
    assert 'has 5 GB free but setup needs 12 GB there' in said
    assert 'VENV' in said and 'TMPDIR' in said


def test_no_network(machine):
    done = machine.setup(
        PIP_INDEX_URL='http://127.0.0.1:9/simple', PIP_RETRIES='0'
    )
    assert done.returncode == 1
    assert 'check the network' in done.stderr.splitlines()[-1]
    assert '[1/6]' in done.stdout
    assert '127.0.0.1' in (machine.venv / 'setup.log').read_text()
    # What was made stays and is not taken for a finished environment.
    check = machine.setup('--check')
    assert check.returncode == 1
    assert 'was not finished' in check.stderr


def test_an_environment_of_another_python(machine):
    (machine.venv / 'bin').mkdir(parents=True)
    machine.put('other', 'echo 3.99')
    (machine.venv / 'bin' / 'python').symlink_to(machine.bin / 'other')
    done = machine.setup(PYTHON='python3.11')
    assert done.returncode == 1
    assert 'made with another Python' in done.stderr


def test_check_of_no_environment_changes_nothing(machine):
    done = machine.setup('--check')
    assert done.returncode == 1 and not machine.venv.exists()
    assert 'there is no environment' in done.stderr


def test_this_environment_is_complete():
    if not Path(sys.prefix, '.bimm_setup').is_file():
        pytest.skip('this environment was not made by tools/setup_env.sh')
    done = subprocess.run(
        ['bash', str(ROOT / 'tools' / 'setup_env.sh'), '--check'],
        env=os.environ | {'VENV': sys.prefix},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def start_step(tmp_path: Path, command: str) -> subprocess.Popen:
    script = (
        f'. {LIB}; LOG={tmp_path}/log; : >$LOG; run_step compiling {command}'
    )
    return subprocess.Popen(
        ['bash', '-c', script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ('log', 'sentence'),
    [
        ('OSError: No space left on device', 'the disk ran full'),
        ('ERROR: No matching distribution found for x', 'check the network'),
        ('fatal error: Python.h: No such file', 'apt-get install python3-dev'),
        ('c++: fatal error: Killed signal terminated', 'MAX_JOBS=1'),
        ('something new', 'the reason is above, and in full in'),
    ],
)
def test_a_step_that_fails_says_what_to_do(tmp_path, log, sentence):
    out, err = start_step(
        tmp_path, f'sh -c \'echo "{log}"; exit 3\''
    ).communicate(timeout=60)
    assert log in err.splitlines()[0]
    assert sentence in err.splitlines()[-1]
    assert 'done' not in out


def test_a_step_that_is_killed_says_so(tmp_path):
    _, err = start_step(tmp_path, "sh -c 'kill -TERM $$'").communicate(
        timeout=60
    )
    assert 'was ended from outside (signal 15)' in err.splitlines()[-1]


def test_an_interrupted_step_ends_its_children(tmp_path):
    pid = tmp_path / 'pid'
    step = start_step(tmp_path, f"sh -c 'sleep 300 & echo $! >{pid}; wait'")
    deadline = time.monotonic() + 30
    while not (pid.exists() and pid.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    step.send_signal(signal.SIGINT)
    _, err = step.communicate(timeout=30)
    assert step.returncode == 1 and 'run the same command again' in err
    time.sleep(0.2)
    stat = Path('/proc', pid.read_text().strip(), 'stat')
    assert not stat.exists() or stat.read_text().split()[2] == 'Z'


def package(site: Path, name: str, *, files: list[str], record: bool) -> Path:
    info = site / f'{name}-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Name: {name}\nVersion: 1.0\n')
    if record:
        rows = [f'{file},,\n' for file in [*files, f'{name}.pyc']]
        (info / 'RECORD').write_text(''.join(rows))
    return info


def check_env(site: Path, *args: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [site.parents[2] / 'bin' / 'python', CHECK, *args],
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def site(tmp_path) -> Path:
    """Packages of an environment: one whole, two damaged, one left over."""
    subprocess.run(
        [sys.executable, '-m', 'venv', '--without-pip', tmp_path / 'env'],
        check=True,
    )
    [site] = (tmp_path / 'env').glob('lib/python*/site-packages')
    (site / 'whole.py').touch()
    package(site, 'whole', files=['whole.py'], record=True)
    package(site, 'gone', files=['gone.py'], record=True)
    package(site, 'broken', files=[], record=False)
    (site / '~old').mkdir()
    return site


def test_damaged_packages_are_forgotten_and_whole_ones_kept(site):
    done = check_env(site, '--forget')
    assert done.returncode == 0
    assert sorted(path.name for path in site.iterdir()) == [
        'whole-1.0.dist-info',
        'whole.py',
    ]
    for name in ('gone', 'broken', '~old'):
        assert name in done.stdout


def test_wrong_missing_and_damaged_packages_are_named(site, tmp_path):
    pins = tmp_path / 'pins.txt'
    pins.write_text('# torch==9\n\nwhole==2.0\nabsent==1.0\n')
    done = check_env(site, str(pins))
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        'whole is 1.0, not 2.0',
        'absent is missing, not 1.0',
        'broken-1.0 is incomplete',
        'gone-1.0 is incomplete',
    ]


def test_ops_that_cannot_be_imported_are_told(site, tmp_path):
    check_env(site, '--forget')
    pins = tmp_path / 'pins.txt'
    pins.write_text('whole==1.0\n')
    done = check_env(site, str(pins))
    assert done.returncode == 1
    assert "cannot be imported: No module named 'torch'" in done.stderr
