"""The script in this process: finished, broken and wrong files, flags."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import pytest

from bimm_mm.contours.format import ContourFile, Manifest

FAST = ('--detector', 'sobel', '--side', '96', '--device', 'cpu')


def test_folder_of_contours(extract, folder, digests, capsys):
    assert extract('data', '--out', 'out', *FAST, '--stride', '10') == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '5 contour files made, 0 finished before, 0 failed'
    # 47, 47, 49 and 51 frames, and one picture.
    assert lines[1].startswith('22 frames in ')
    size = sum(path.stat().st_size for path in folder.glob('out/**/*.zip'))
    assert f'{size / 22:.0f} bytes per frame' in lines[1]
    assert lines[2].endswith('browse_contours.py out --data-root data')
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


def test_command_in_the_manifest_makes_the_same_again(
    extract, folder, digests
):
    (folder / 'my list.txt').write_text('eat.mkv 0\ngone.mkv 0\n')
    flags = (
        '--list', 'my list.txt', '--folder', 'a b', '--detector', 'canny',
        '--stride', '16', '--side', '64', '--density', '0.2', '--levels',
        '16', '--no-thin',
    )  # fmt: skip
    once = ('--device', 'cpu', '--batch', '2', '--threads', '1')
    assert extract('data', '--out', 'o', *flags, *once, '--shard', '1/2') == 0
    made = Manifest.read('o')
    assert made.settings['compression'] == {
        'thin': False, 'density': 0.2, 'levels': 16,
    }  # fmt: skip
    wanted = ['python', 'tools/extract_contours.py', 'data', '--out', 'o']
    assert shlex.split(made.command) == [*wanted, *flags]
    before = digests(folder / 'o')
    shutil.rmtree('o')
    # One of the two is not there.
    assert extract(*shlex.split(made.command)[2:]) == 1
    (folder / 'o' / 'failed.txt').unlink()
    assert digests(folder / 'o') == before


def test_bad_files_are_listed_and_skipped(extract, folder, capsys):
    (folder / 'data' / 'text.mp4').write_text('no video')
    (folder / 'data' / 'empty.mp4').touch()
    cut = (folder / 'data' / 'a b' / 'milk.mkv').read_bytes()[:500]
    (folder / 'data' / 'a b' / 'milk.mkv').write_bytes(cut)
    (folder / 'data' / 'text.png').write_text('no image')
    long = 'x' * 240 + '.png'  # too long for the name of a contour file
    shutil.copy('data/picture.png', f'data/{long}')
    names = ['a b/milk.mkv', 'text.png', 'text.mp4', long]
    names += ['empty.mp4', 'gone.mp4']
    bad = ''.join(f'{name} 0\n' for name in names)
    (folder / 'list.txt').write_text(f'{bad}a b/eat.mkv 7\ntext.mp4 0\n')
    flags = ('data', '--out', 'out', '--list', 'list.txt', *FAST)
    assert extract(*flags) == 1
    said = capsys.readouterr().out
    assert 'FAILED: 6 of 7 files cannot be read' in said
    assert 'out/failed.txt' in said
    lines = (folder / 'out' / 'failed.txt').read_text().splitlines()
    reasons = dict(line.split('\t') for line in lines)
    assert list(reasons) == sorted(f'data/{name}' for name in names)
    assert all(reasons.values())
    assert reasons['data/gone.mp4'] == 'No such file or directory'
    assert reasons['data/empty.mp4'] == 'the file is empty'
    # Nothing is left of them, no draft either.
    left = [path.name for path in (folder / 'out').rglob('*.zip*')]
    assert left == ['eat.mkv.zip']
    # The second, the fourth and the sixth of seven, all of them bad.
    assert extract(*flags, '--shard', '2/2') == 1
    assert (folder / 'out' / 'failed-2-of-2.txt').exists()
    shutil.copyfile('data/a b/want.mkv', 'data/a b/milk.mkv')
    (folder / 'list.txt').write_text('a b/milk.mkv 0\na b/eat.mkv 0\n')
    assert extract(*flags) == 0
    assert not list((folder / 'out').glob('failed*'))
    (folder / 'list.txt').write_text(bad.split('\n', 1)[1])
    assert extract(*flags) == 1


def test_dry_run_leaves_nothing(extract, folder, digests, capsys):
    before = digests(folder)
    flags = ('data', '--out', 'new/out', *FAST, '--stride', '16')
    assert extract(*flags, '--dry-run', '30') == 0
    said = capsys.readouterr().out
    assert 'dry run: 5 of 5 files, drawn at random' in said
    assert 'to do: 5 files, 0 are finished\nabout 0:00:' in said
    assert digests(folder) == before
    assert sorted(os.listdir(folder)) == ['data']
    extract(*flags, '--folder', 'a b')
    assert extract(*flags, '--dry-run', '0.001') == 0
    assert 'to do: 1 files, 4 are finished' in capsys.readouterr().out
    with pytest.raises(AssertionError, match=r'(?s)other settings.*side'):
        extract(*flags, '--side', '64', '--dry-run', '5')
    assert extract(*flags) == 0
    assert extract(*flags, '--dry-run') == 0
    assert 'all 5 files are finished' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--shard', '9/8'], "'9/8' is no part: give 1/8 to 8/8"),
        (['--density', '0'], 'density=0.0'),
        (['--device', 'foo'], "device 'foo' cannot be used"),
    ],
)
def test_wrong_flags(extract, folder, capsys, flags, message):
    command = ['data', '--out', 'out', '--detector', 'sobel', *flags]
    assert extract(*command) == 2
    said = capsys.readouterr().err
    assert 'usage: ' in said and message in said
    assert not (folder / 'out').exists()


def test_mistakes_end_in_one_line(extract, folder):
    message = r"contours.py: error: .*detector 'sobol' is unknown"
    with pytest.raises(AssertionError, match=message):
        extract('data', '--out', 'out', '--detector', 'sobol')
    assert not (folder / 'out').exists()


def test_names_may_be_anything(extract, call_tool, folder, capsys):
    odd = b'\xff\n\t\'"<img src=x onerror=alert(1)>$(touch RAN)`touch RAN`; -'
    shutil.copyfile('data/a b/eat.mkv', b'data/' + odd + b'.mkv')
    Path(os.fsdecode(b'data/bad' + odd + b'.mp4')).write_text('no video')
    assert extract('data', '--out', os.fsdecode(odd), *FAST) == 1
    [line] = Path(os.fsdecode(odd), 'failed.txt').read_bytes().splitlines()
    listed = odd.replace(b'\n', b' ').replace(b'\t', b' ')
    assert line.startswith(b'data/bad' + listed + b'.mp4\t')
    assert os.path.exists(odd + b'/' + odd + b'.mkv.zip')
    look = (os.fsdecode(odd), '--data-root', 'data', '--out', 'a.png')
    with pytest.raises(SystemExit, match=r'^0$'):
        call_tool('browse_contours', *look)
    assert '\\udcff' in capsys.readouterr().out
    assert not list(folder.rglob('RAN'))
