"""Many units by several threads; parts of a dataset; the list of failures."""

from __future__ import annotations

import io
import threading
import time
from itertools import chain
from pathlib import Path

import pytest
from rich.console import Console

from bimm_mm.contours.extractor import DetectorError
from bimm_mm.contours.failures import write_failures
from bimm_mm.contours.progress import Progress
from bimm_mm.contours.report import Report
from bimm_mm.contours.run import extract_all, run_units
from bimm_mm.contours.shards import Shard
from bimm_mm.contours.units import Unit, find_units
from bimm_mm.utils.progress import size_text, time_text


def _run(plan, units, threads=2):
    extractor = plan.build('cpu')
    extractor.manifest.write(plan.contour_root)
    return run_units(extractor, units, threads=threads)


def test_files_do_not_depend_on_threads_batches_or_shards(
    make_plan, media, digests
):
    units = find_units(str(media), group=2)
    assert _run(make_plan('one'), units, threads=1).files == 8
    wanted = digests(make_plan('one').contour_root)
    assert len(wanted) == 9
    assert _run(make_plan('many', batch=1), units, threads=3).files == 8
    assert digests(make_plan('many').contour_root) == wanted
    parts = [Shard(i + 1, 3).of(units) for i in range(3)]
    reports = [_run(make_plan('parts'), part) for part in parts]
    assert sum(reports, Report()).files == 8
    assert digests(make_plan('parts').contour_root) == wanted


def test_what_a_killed_process_left_is_removed(make_plan, media, digests):
    plan, units = make_plan(), find_units(str(media))
    _run(plan, units)
    wanted = digests(plan.contour_root)
    root = Path(plan.contour_root)
    drafts = (
        'signs/eat.mkv.zip.77.tmp',
        'signs/hungry.mkv.zip.77-0a1b2c3d.tmp',
        'manifest.json.77-0a1b2c3d.tmp',
    )
    for name in drafts:
        (root / name).write_text('half')
    (root / 'signs' / 'eat.mkv.zip').unlink()
    # Another process may be at work on this one.
    (root / 'signs' / 'other.mkv.zip.78.tmp').write_text('half')
    report = _run(plan, units)
    assert (report.files, report.skipped) == (1, 7)
    other = (root / 'signs' / 'other.mkv.zip.78.tmp').read_text()
    (root / 'signs' / 'other.mkv.zip.78.tmp').unlink()
    assert other == 'half'
    assert digests(root) == wanted


def test_units_go_on_at_once_and_stop_at_an_error(make_plan):
    extractor = make_plan().build('cpu')
    units = [Unit((f'{i}.mp4',), video=True) for i in range(9)]
    together = threading.Barrier(3, timeout=20)
    begun = []

    def extract(unit):
        begun.append(unit)
        if unit in units[:3]:
            together.wait()
        if unit is units[1]:
            raise DetectorError('no more')
        if unit not in units[:3]:
            time.sleep(0.3)  # long enough for the error to be seen
        return Report(files=1)

    with pytest.raises(DetectorError, match=r'no more'):
        list(extract_all(extractor, units, threads=3, extract=extract))
    assert begun[:3] == units[:3]
    assert len(begun) < 9


def test_units_are_taken_as_threads_become_free(make_plan):
    taken = []
    units = (taken.append(i) or Unit((f'{i}',), video=True) for i in range(99))
    reports = extract_all(
        make_plan().build('cpu'),
        units,
        threads=2,
        extract=lambda _: Report(files=1),
    )
    next(reports)
    assert len(taken) <= 4
    assert sum(reports, Report()).files >= 97
    assert len(taken) == 99


def test_shards_are_a_partition():
    items = list(range(23))
    for count in (1, 2, 5, 30):
        parts = [Shard(i + 1, count).of(items) for i in range(count)]
        assert sorted(chain(*parts)) == items
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert Shard.parse('2/5').of(items) == [1, 6, 11, 16, 21]
    # Ranks split their shard further.
    split = [Shard(2, 5).split(rank, 3).of(items) for rank in range(3)]
    assert split == [[1, 16], [6, 21], [11]]
    assert str(Shard(2, 5).split(1, 3)) == '7/15'


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('9/8', r'shard 9/8: there are shards 1/8 to 8/8'),
        ('0/8', r'shard 0/8'),
        ('1/0', r'at least one'),
        ('2', r"'2' is not like 2/8"),
        ('-1/8', r'is not like'),
    ],
)
def test_shards_that_are_not_there(text, message):
    with pytest.raises(ValueError, match=message):
        Shard.parse(text)


def test_failures_are_listed_sorted_and_the_list_goes_with_them(tmp_path):
    part = Shard(2, 3)
    path = write_failures([('b', 'x'), ('a', 'y')], str(tmp_path), part)
    assert path == str(tmp_path / 'failed-2-of-3.txt')
    assert Path(path).read_text() == 'a\ty\nb\tx\n'
    assert write_failures([], str(tmp_path), Shard(1, 3)) is None
    assert Path(path).exists()
    path = write_failures([('c', 'z')], str(tmp_path), Shard())
    assert [p.name for p in tmp_path.iterdir()] == ['failed.txt']
    assert write_failures([], str(tmp_path), Shard()) is None
    assert not list(tmp_path.iterdir())


def test_progress_in_a_log_is_a_line_now_and_then():
    text = io.StringIO()
    console = Console(file=text, width=40)
    with Progress(4, name='rank 1: ', console=console, interval=0) as bar:
        bar.add(Report(files=1, frames=9, bytes=2000, failed=[('a', 'b')]))
    [line] = text.getvalue().splitlines()
    assert line.startswith('rank 1: 2/4 files, ')
    assert '2 kB, 1 failed, ' in line
    with Progress(4, console=console, interval=99) as bar:
        bar.add(Report(files=1))
    assert text.getvalue().count('\n') == 1


def test_progress_in_a_terminal_is_a_bar():
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120)
    with Progress(4, console=console) as bar:
        bar.add(Report(files=2, frames=9, bytes=2000))
    assert '2/4' in text.getvalue()
    assert 'frames/s' in text.getvalue()


def test_texts():
    times = (0.25, 100, 3600, 3 * 3600, 5 * 86400)
    assert [time_text(seconds) for seconds in times] == [
        '0.25 s', '100 s', '60 min', '3 h', '5 days',
    ]  # fmt: skip
    sizes = (0, 999, 1234, 5e9, 4e13)
    assert [size_text(size) for size in sizes] == [
        '0 B', '999 B', '1.23 kB', '5 GB', '40 TB',
    ]  # fmt: skip
