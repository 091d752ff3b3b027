"""The script: killed, sharded, on a full disk, with bad files and flags."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from bimm_mm.contours.manifest import Manifest
from bimm_mm.contours.reading import Video
from bimm_mm.contours.store import ContourFile

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'tools' / 'extract_contours.py'
KILLS = int(os.environ.get('BIMM_KILLS', '3'))
ENV = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1'}
FAST = ('--detector', 'sobel', '--side', '96', '--device', 'cpu')


@pytest.fixture
def folder(data_root: Path, tmp_path: Path, monkeypatch) -> Path:
    """A working directory with four clips and an image below ``data/``."""
    (tmp_path / 'data' / 'a b').mkdir(parents=True)
    for name in ('eat', 'want', 'hungry', 'milk'):
        source = data_root / 'clips' / 'asl_gestures' / f'{name}.mkv'
        shutil.copyfile(source, tmp_path / 'data' / 'a b' / f'{name}.mkv')
    with Video(str(source), stride=9, side=300) as video:
        picture = next(video.frames())
    cv2.imwrite(str(tmp_path / 'data' / 'picture.png'), picture)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def extract(folder, load_tool, monkeypatch) -> Callable[..., int]:
    """Run the script in this process; its exit status."""
    tool = load_tool('extract_contours')
    monkeypatch.setattr(signal, 'signal', lambda *_: None)

    def run(*arguments: str) -> int:
        command = ['extract_contours.py', *arguments]
        monkeypatch.setattr(sys, 'argv', command)
        with pytest.raises(SystemExit) as end:
            tool.main()
        if isinstance(end.value.code, str):
            raise AssertionError(end.value.code)
        return end.value.code

    return run


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def test_folder_of_contours(extract, folder, capsys):
    assert extract('data', '--out', 'out', *FAST, '--stride', '10') == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '5 contour files made, 0 finished before, 0 failed'
    # 47, 47, 49 and 51 frames, and one picture.
    assert lines[1].startswith('22 frames in ')
    size = sum(path.stat().st_size for path in folder.glob('out/**/*.zip'))
    assert f'{size / 22:.0f} bytes per frame' in lines[1]
    assert lines[2] == (
        'look at them: python tools/browse_contours.py out --data-root data'
    )
    assert sorted(digests(folder / 'out')) == [
        'a b/eat.mkv.zip', 'a b/hungry.mkv.zip', 'a b/milk.mkv.zip',
        'a b/want.mkv.zip', 'manifest.json', 'picture.png.zip',
    ]  # fmt: skip
    with ContourFile('out/a b/eat.mkv.zip') as file:
        assert file.indices == [0, 10, 20, 30, 40]
        assert file.size == (96, 128)
    before = digests(folder / 'out')
    assert extract('data', '--out', 'out', *FAST, '--stride', '10') == 0
    assert '0 contour files made, 5 finished' in capsys.readouterr().out
    assert digests(folder / 'out') == before


def test_command_in_the_manifest_makes_the_same_again(extract, folder):
    (folder / 'my list.txt').write_text('eat.mkv 0\ngone.mkv 0\n')
    flags = (
        '--list', 'my list.txt', '--folder', 'a b', '--detector', 'canny',
        '--stride', '16', '--side', '64', '--density', '0.2', '--levels',
        '16', '--no-thin',
    )  # fmt: skip
    once = ('--device', 'cpu', '--batch', '2', '--threads', '1')
    assert extract('data', '--out', 'o', *flags, *once, '--shard', '1/2') == 0
    made = Manifest.read('o')
    assert made.settings['packing'] == {
        'thin': False, 'density': 0.2, 'levels': 16,
    }  # fmt: skip
    wanted = ['python', 'tools/extract_contours.py', 'data', '--out', 'o']
    assert shlex.split(made.command) == [*wanted, *flags]
    before = digests(folder / 'o')
    shutil.rmtree('o')
    assert extract(*shlex.split(made.command)[2:]) == 0
    (folder / 'o' / 'failed.txt').unlink()
    assert digests(folder / 'o') == before


def test_bad_files_are_listed_and_skipped(extract, folder, capsys):
    (folder / 'data' / 'text.mp4').write_text('no video')
    (folder / 'data' / 'empty.mp4').touch()
    cut = (folder / 'data' / 'a b' / 'milk.mkv').read_bytes()[:500]
    (folder / 'data' / 'a b' / 'milk.mkv').write_bytes(cut)
    names = ['a b/milk.mkv', 'text.mp4', 'empty.mp4', 'gone.mp4']
    bad = ''.join(f'{name} 0\n' for name in names)
    (folder / 'list.txt').write_text(f'{bad}a b/eat.mkv 7\ntext.mp4 0\n')
    flags = ('data', '--out', 'out', '--list', 'list.txt', *FAST)
    assert extract(*flags) == 0
    said = capsys.readouterr().out
    assert 'FAILED: 4 of 5 files cannot be read' in said
    assert 'out/failed.txt' in said
    lines = (folder / 'out' / 'failed.txt').read_text().splitlines()
    assert [line.split('\t')[0] for line in lines] == sorted(
        f'data/{name}' for name in names
    )
    assert all(line.split('\t')[1] for line in lines)
    # The second and the fourth of five.
    assert extract(*flags, '--shard', '2/2') == 1
    assert (folder / 'out' / 'failed-2-of-2.txt').exists()
    shutil.copyfile('data/a b/want.mkv', 'data/a b/milk.mkv')
    (folder / 'list.txt').write_text('a b/milk.mkv 0\na b/eat.mkv 0\n')
    assert extract(*flags) == 0
    assert not list((folder / 'out').glob('failed*'))
    (folder / 'list.txt').write_text(bad.split('\n', 1)[1])
    assert extract(*flags) == 1


def test_broken_file_is_made_again_when_asked(extract, folder, capsys):
    flags = ('data', '--out', 'out', *FAST, '--folder', 'a b')
    assert extract(*flags) == 0
    wanted = digests(folder / 'out')
    victim = folder / 'out' / 'a b' / 'eat.mkv.zip'
    victim.write_bytes(victim.read_bytes()[:700])
    capsys.readouterr()
    assert extract(*flags, '--verify') == 0
    assert '1 contour files made, 1 of them again, 3 fin' in (
        capsys.readouterr().out
    )
    assert digests(folder / 'out') == wanted


def test_dry_run_leaves_nothing(extract, folder, capsys):
    before = digests(folder)
    flags = ('data', '--out', 'new/out', *FAST, '--stride', '16')
    assert extract(*flags, '--dry-run', '5') == 0
    said = capsys.readouterr().out
    assert 'dry run: 4 of 5 units' in said
    assert 'to do: 5 files, 0 are finished' in said
    assert digests(folder) == before
    assert sorted(os.listdir(folder)) == ['data']
    extract(*flags, '--folder', 'a b')
    assert extract(*flags, '--dry-run', '5') == 0
    assert 'to do: 1 files, 4 are finished' in capsys.readouterr().out
    with pytest.raises(AssertionError, match=r'(?s)other settings.*side'):
        extract(*flags, '--side', '64', '--dry-run', '5')
    assert extract(*flags) == 0
    assert extract(*flags, '--dry-run') == 0
    assert 'all 5 files are finished' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--shard', '9/8'], 'shard 9/8: there are shards 1/8 to 8/8'),
        (['--shard', '0/8'], 'shard 0/8'),
        (['--stride', '0'], 'stride must be at least 1, got 0'),
        (['--batch', '0'], 'batch must be at least 1'),
        (['--side', '-3'], 'side must be at least 1'),
        (['--levels', '1'], 'levels=1'),
        (['--density', '0'], 'density=0.0'),
        (['--threads', '0'], '--threads 0 must be above 0'),
        (['--dry-run', '0'], '--dry-run 0.0 must be above 0'),
        (['--launcher', 'mpi'], "invalid choice: 'mpi'"),
        (['--launcher', 'ray', '--dry-run'], '--launcher none'),
    ],
)
def test_wrong_flags(extract, folder, capsys, flags, message):
    command = ['data', '--out', 'out', '--detector', 'sobel', *flags]
    assert extract(*command) == 2
    said = capsys.readouterr().err
    assert 'usage: ' in said and message in said
    assert not (folder / 'out').exists()


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--detector', 'sobol'], r"detector 'sobol' is unknown"),
        (['--detector-options', 'x=1'], r"'sobel' has no option 'x'"),
        (['--weights', 'w.pth'], r"'sobel' has no weights"),
        (['--list', 'no.txt'], r'list file no\.txt does not exist'),
        (['--folder', 'nix'], r'data/nix is no folder'),
        (['--device', 'gpu'], r"device 'gpu'"),
        (['--launcher', 'pytorch'], r'RANK.* is not set: .* torchrun'),
    ],
)
def test_mistakes_end_in_one_line(
    extract, folder, monkeypatch, flags, message
):
    monkeypatch.delenv('RANK', raising=False)
    command = ['data', '--out', 'out', '--detector', 'sobel', *flags]
    with pytest.raises(
        AssertionError, match=f'contours.py: error: .*{message}'
    ):
        extract(*command)
    assert not (folder / 'out').exists()


def test_folder_of_other_settings_is_refused(extract, folder):
    assert extract('data', '--out', 'out', *FAST, '--folder', 'a b') == 0
    before = digests(folder / 'out')
    message = r'(?s)other settings.*side: 96 != 64.*--out'
    with pytest.raises(AssertionError, match=message):
        extract('data', '--out', 'out', *FAST, '--side', '64')
    assert digests(folder / 'out') == before
    (folder / 'file').touch()
    with pytest.raises(AssertionError, match=r"'file' is a file"):
        extract('data', '--out', 'file', *FAST)


# From here on processes of their own, which take some seconds to start.


def _start(*arguments: str, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENV,
        **options,
    )


def _finish(process: subprocess.Popen) -> tuple[int, str]:
    out, err = process.communicate(timeout=240)
    return process.returncode, out + err


def _await(path: Path, process: subprocess.Popen) -> None:
    end = time.monotonic() + 120
    while not path.exists() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.slow
def test_killed_anywhere_it_goes_on_to_the_same_bytes(extract, folder):
    work = ('data', *FAST, '--side', '128', '--stride', '1', '--threads', '2')
    begin = time.monotonic()
    assert extract(*work, '--out', 'whole') == 0
    span = time.monotonic() - begin
    wanted = digests(folder / 'whole')
    shutil.move('whole', 'kept')
    draw, killed = random.Random(0), 0
    for _ in range(KILLS):
        process = _start(*work, '--out', 'whole')
        _await(folder / 'whole' / 'manifest.json', process)
        time.sleep(draw.uniform(0, span / KILLS))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        # What has its name is whole.
        for path in (folder / 'whole').rglob('*.zip'):
            name = str(path.relative_to(folder / 'whole'))
            assert digests(folder / 'whole')[name] == wanted[name]
    assert killed
    code, said = _finish(_start(*work, '--out', 'whole'))
    assert (code, 'Traceback' in said) == (0, False)
    assert digests(folder / 'whole') == wanted


@pytest.mark.slow
def test_killed_before_the_rename_it_leaves_a_draft_that_goes(extract, folder):
    assert extract('data', '--out', 'out', *FAST) == 0
    wanted = digests(folder / 'out')
    shutil.rmtree('out')
    code = (
        'import os, runpy, signal, sys\n'
        'replace = os.replace\n'
        'def killed(old, new):\n'
        "    if new.endswith('hungry.mkv.zip'):\n"
        '        os.kill(os.getpid(), signal.SIGKILL)\n'
        '    replace(old, new)\n'
        'os.replace = killed\n'
        f'sys.argv = ["x", "data", "--out", "out", *{FAST!r}]\n'
        f'runpy.run_path({str(SCRIPT)!r}, run_name="__main__")\n'
    )
    done = subprocess.run([sys.executable, '-c', code], env=ENV, timeout=120)
    assert done.returncode == -signal.SIGKILL
    drafts = list((folder / 'out').rglob('*hungry.mkv.zip*'))
    assert [path.suffix for path in drafts] == ['.tmp']
    assert extract('data', '--out', 'out', *FAST) == 0
    assert digests(folder / 'out') == wanted


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_says_how_to_go_on(folder, number):
    process = _start(
        'data', '--out', 'out', *FAST, '--side', '400', '--stride', '1'
    )
    _await(folder / 'out' / 'manifest.json', process)
    time.sleep(0.3)
    process.send_signal(number)
    code, said = _finish(process)
    assert code == 130
    assert 'run the same command again to go on' in said
    assert 'Traceback' not in said
    assert not list(folder.rglob('*.tmp'))


@pytest.mark.slow
def test_file_that_cannot_be_written_ends_the_run(extract, folder):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    flags = ('data', '--out', 'out', *FAST, '--side', '300', '--stride', '6')
    code, said = _finish(_start(*flags, preexec_fn=limit))
    assert code == 1
    [error] = [line for line in said.splitlines() if 'error: ' in line]
    assert '.zip cannot be written (File too large)' in error
    assert 'run the same command again' in error
    assert 'Traceback' not in said
    assert not list(folder.rglob('*.tmp'))
    assert extract(*flags) == 0
    assert len(list(folder.glob('out/**/*.zip'))) == 5


@pytest.mark.slow
def test_two_ranks_make_what_one_process_makes(extract, folder):
    (folder / 'data' / 'text.mp4').write_text('no video')
    assert extract('data', '--out', 'one', *FAST) == 0
    wanted = digests(folder / 'one')
    shutil.move('one', 'kept')
    command = [
        sys.executable, '-m', 'torch.distributed.run', '--standalone',
        '--nproc_per_node', '2', str(SCRIPT), 'data', '--out', 'one', *FAST,
        '--launcher', 'pytorch',
    ]  # fmt: skip
    done = subprocess.run(
        command, env=ENV, timeout=240, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert 'rank 0: 3 contour files made' in done.stdout
    assert 'rank 1: 2 contour files made' in done.stdout
    made = digests(folder / 'one')
    # The sixth of six is for the second rank.
    assert made.pop('failed-2-of-2.txt') == wanted.pop('failed.txt')
    assert made == wanted
