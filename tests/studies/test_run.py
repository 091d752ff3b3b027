from __future__ import annotations

import fcntl
import json
import subprocess
from pathlib import Path

import pytest

from bimm_mm.apis import read_scalars
from studies.mini.results import read_results
from studies.mini.run import main, parse_args

STUDY = 'toy-clips-train'
UNITS = {
    f'{STUDY}/{name}'
    for name in (
        'trivial/seed0/fold0-trivial',
        'ventral/seed0/fold0-ventral',
        *(
            f'{method}/seed0/fold0-{kind}'
            for method in ('videomae', 'bimm')
            for kind in ('pretrain', 'finetune', 'probe')
        ),
    )
}
VIDEOMAE = f'{STUDY}/videomae/seed0/fold0-pretrain'


@pytest.fixture(scope='module')
def records(study_home) -> dict[str, dict]:
    found = read_results(study_home.home / 'results.json')
    return {record['id']: record for record in found}


def test_it_stops_when_it_is_told(study_home) -> None:
    assert 'units to do' in study_home.stopped
    assert 'FAILED' not in study_home.stopped
    assert study_home.begun['finished'] is False
    assert 1 <= study_home.begun['steps'] < 4


def test_the_next_call_finishes_everything(study_home, records) -> None:
    assert 'units finished' in study_home.finished
    assert 'to do' not in study_home.finished
    assert set(records) == UNITS
    assert all(record['finished'] for record in records.values())
    assert records[VIDEOMAE]['started'] == study_home.begun['started']


def test_no_step_was_left_out_or_done_twice(study_home, records) -> None:
    record = records[VIDEOMAE]
    assert (record['steps'], record['clips']) == (4, 16)
    series = read_scalars(study_home.home / 'units' / VIDEOMAE)
    assert list(series['loss']) == [1, 2, 3, 4]
    assert record['curves']['pixels']['step'] == [0, 1, 2, 3, 4]


def test_records_say_what_a_report_needs(records) -> None:
    for record in records.values():
        assert record['revision']
        assert 'CPU' in record['hardware']['device']
        assert record['data'] | {'sha256': ''} == {
            'name': 'toy',
            'sha256': '',
            'videos': 12,
            'classes': 3,
        }
        assert (record['jobs'], record['compile']) == (1, False)
        assert json.loads(record['config'])
    bimm = records[f'{STUDY}/bimm/seed0/fold0-pretrain']
    assert set(bimm['curves']) >= {'dorsal_MT', 'ventral_V4'}
    assert bimm['diagnosis']['iter'] == 4
    assert bimm['gpu_busy'] is None


def test_scores_are_of_the_test_clips(study_home, records) -> None:
    tested = (study_home.home.parent / 'fold0_val.txt').read_text()
    paths = {line.split()[0] for line in tested.splitlines()}
    scores = {
        name: score
        for record in records.values()
        for name, score in record['scores'].items()
    }
    assert set(scores) == {
        'finetune',
        'linear',
        'knn',
        *(
            f'{probe}:{feature}'
            for probe in ('linear', 'knn')
            for feature in ('middle_frame', 'motion_energy')
        ),
    }
    for score in scores.values():
        assert score['n'] == len(paths) == 6
        # Two clips of each of three classes.
        assert score['majority'] == pytest.approx(100 / 3)
        assert 0 <= score['top1'] <= 100
    correct = scores['finetune']['correct']
    assert set(correct) == paths
    share = 100 * sum(correct.values()) / 6
    assert share == pytest.approx(scores['finetune']['top1'], abs=1e-3)


def test_weights_stay_and_checkpoints_go(study_home) -> None:
    units = study_home.home / 'units'
    left = {p.relative_to(units).as_posix() for p in units.rglob('*.pth')}
    assert left == {
        f'{name}/weights.pth'
        for name in UNITS
        if name.endswith(('-pretrain', '-ventral'))
    }


def test_every_pretraining_has_a_picture(study_home) -> None:
    names = {path.stem for path in (study_home.home / 'pictures').iterdir()}
    assert names == {
        f'{STUDY}-videomae-seed0-fold0-pretrain',
        f'{STUDY}-ventral-seed0-fold0-ventral',
        f'{STUDY}-bimm-seed0-fold0-pretrain',
        f'{STUDY}-bimm-seed0-fold0-pretrain-ventral',
    }


def again(study_home, *more: str) -> int:
    """The same call in this process."""
    return main([*study_home.command[3:], *more])


def test_a_dry_run_lists_what_is_done(study_home, capsys) -> None:
    assert again(study_home, '--dry-run') == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(UNITS) + 1
    assert all(line.split()[0] == 'done' for line in lines[:-1])
    assert lines[-1] == '8 of 8 units done, 0 s left'
    # Another seed is to be done, and its time is told by what is finished.
    again(study_home, '--dry-run', '--seeds', '0', '1')
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith('8 of 15 units done, ')
    assert 'not known' not in lines[-1]


def test_two_calls_in_one_folder_are_refused(study_home) -> None:
    with (
        open(study_home.home / 'lock') as file,
        pytest.raises(ValueError, match=r'another call is working'),
    ):
        fcntl.flock(file, fcntl.LOCK_EX)
        again(study_home)


def test_mistakes_are_told_at_once(study_home) -> None:
    for more, message in (
        (('--methods', 'bim'), r"'bim': choose from scratch"),
        (('--size', 'huge'), r"no size 'huge'"),
        (('--fold', '7'), r"no fold '7': choose from 0"),
        (('--merge', 'none.json'), r'no none.json'),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            again(study_home, *more)
    with pytest.raises(SystemExit):
        parse_args(['--videos=v', '--folds', 'a', 'b', '--jobs', '0'])


def test_its_own_errors_have_no_traceback(study_home, tmp_path: Path) -> None:
    command = [*study_home.command, '--videos', str(tmp_path)]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    assert done.stderr.startswith('studies.mini.run: ')
    assert 'does not exist' in done.stderr
