"""What tools/setup_env.sh says when it cannot go on."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import wait_until

PYTHON = shlex.quote(sys.executable)
SETUP = Path(__file__).resolve().parent.parent / 'tools' / 'setup_env.sh'
# A Python whose new environments hold one that answers as told by $FAKE.
MAKES_FAKE = f"""
if [ "$1 $2" = '-m venv' ]; then
    mkdir -p "$3/bin" && printf '#!/bin/bash\\n%s\\n' "$FAKE" >"$3/bin/python"
    chmod +x "$3/bin/python"
else
    exec {PYTHON} "$@"
fi
"""


class Machine:
    """A PATH of our own, in which programs can be missing or replaced."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.venv = folder / 'bin', folder / 'venv'
        self.bin.mkdir()
        for program in Path('/usr/bin').iterdir():
            (self.bin / program.name).symlink_to(program)
        for program in self.bin.glob('python*'):
            program.unlink()
        # Nothing here needs a compiler.
        for name in ('gcc', 'cc', 'g++', 'c++', 'ninja', 'nvcc'):
            self.put(name, 'exit 1')
        self.put('python3.11', MAKES_FAKE)
        self.env = {
            'PATH': str(self.bin),
            'HOME': str(folder),
            'VENV': str(self.venv),
            'PIP_CONFIG_FILE': os.devnull,
        }

    def put(self, name: str, script: str) -> None:
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).write_text(f'#!/bin/bash\n{script}\n')
        (self.bin / name).chmod(0o755)

    def start(self, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ['bash', SETUP],
            env=self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def setup(self, **env: str) -> str:
        """What a setup that ends well printed."""
        process = self.start(**env)
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, out + err
        return out

    def refusal(self, **env: str) -> str:
        """The last line of a setup that must fail."""
        process = self.start(**env)
        out, err = process.communicate(timeout=100)
        assert process.returncode == 1, out + err
        last = err.strip().splitlines()[-1]
        assert last.startswith('setup: ')
        return last


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize(
    'script', ['exit 127', f'{PYTHON} -c "import sys; sys.exit(1)"']
)
def test_no_python_or_one_too_old(machine, script):
    machine.put('python3.11', script)
    said = machine.refusal()
    assert 'no installed Python is not a working Python 3.10 to 3.13' in said
    assert 'PYTHON=/path/to/python3.11' in said
    assert '/no/python is not a working' in machine.refusal(
        PYTHON='/no/python'
    )


def test_a_python_without_venv(machine):
    machine.put('python3.11', 'case $2 in *venv*) exit 1 ;; esac')
    assert 'apt-get install python3-venv' in machine.refusal()


def test_a_full_disk(machine):
    machine.put('df', 'echo "disk 99999999 99999999 5242880 99% /"')
    said = machine.refusal()
    assert 'has 5 GB free but setup needs 10 GB there' in said


@pytest.mark.parametrize(
    ('log', 'sentence'),
    [
        ('OSError: No space left on device', 'the disk ran full'),
        ('ERROR: No matching distribution found for x', 'check the network'),
        ('something new', 'the reason is above, and in full in'),
    ],
)
def test_a_step_that_fails_says_what_to_do(machine, log, sentence):
    fake = f'case $* in *pip\\ install*) echo "{log}"; exit 3 ;; esac'
    assert sentence in machine.refusal(FAKE=fake)


def test_a_second_run_ends_at_once_and_an_unfinished_one_starts_anew(machine):
    machine.refusal(FAKE='[ "$3" != install ]')
    (machine.venv / 'lib').mkdir()
    out = machine.setup(FAKE='true')
    assert '[4/4] check' in out and f'environment ready: {machine.venv}' in out
    assert not (machine.venv / 'lib').exists()
    assert machine.setup() == f'environment ready: {machine.venv}\n'


def test_an_environment_of_somebody_is_not_cleared(machine):
    (machine.venv / 'bin').mkdir(parents=True)
    (machine.venv / 'lib').mkdir()
    machine.bin = machine.venv / 'bin'
    machine.put('python', '[ "$3" != install ]')
    for _ in range(2):
        machine.refusal()
        assert (machine.venv / 'lib').is_dir()


def test_an_interrupted_setup_ends_its_step(machine, tmp_path):
    pid = tmp_path / 'pid'
    fake = f'[ "$3" != install ] || {{ echo $$ >{pid}; exec sleep 300; }}'
    process = machine.start(FAKE=fake)
    wait_until(lambda: pid.exists() and pid.read_text().strip(), 30)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1 and 'run the same command again' in err
    time.sleep(0.2)
    stat = Path('/proc', pid.read_text().strip(), 'stat')
    assert not stat.exists() or stat.read_text().split()[2] == 'Z'
