"""Runs compared on own videos: through the command, with real runs."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
from mmengine.config import Config

from bimm_mm.apis.comparison import Comparison
from bimm_mm.cli import main
from bimm_mm.utils.interrupts import time_limit
from tests.apis.conftest import FRAMES, HERE, spoil
from tests.processes import Started, wait_until

FAST = [
    *('--epochs', '1', '--batch-size', '4'),
    *(f'--set={key}={value}' for key, value in HERE.items()),
]


@pytest.fixture(scope='session')
def runs(pretrained) -> list[Path]:
    """A pretraining and a copy of it in a folder of the same name."""
    second = pretrained.parents[1] / 'second' / 'run'
    shutil.copytree(pretrained, second)
    return [pretrained, second]


def _files(out: Path) -> dict[str, int]:
    return {
        str(path.relative_to(out)): path.stat().st_mtime_ns
        for path in out.rglob('fold*/*.json')
    }


@pytest.mark.slow
def test_runs_are_compared_and_the_same_command_goes_on(
    runs, scanned, tmp_path, bimm, capsys
):
    out = tmp_path / 'out'
    words = ['compare', *runs, scanned, '--out', out, *FAST]
    # Time runs out before anything is measured.
    bimm(*words, '--folds', 1, '--minutes', 0)
    assert 'stopped: the same command goes on' in capsys.readouterr().out
    assert json.loads((out / 'results.json').read_text())['left'] == 13
    # A finetuning that was stopped before its first checkpoint.
    stopped = dict(verb='finetune', method='bimm', size='tiny', fold=0)
    stopped |= dict(data=str(scanned), run=str(runs[0]))
    path = out / 'scratch' / 'fold0-seed0' / 'finetune' / 'run.json'
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**stopped, 'classes': ['dark', 'bright']}))
    bimm(*words, '--folds', 1)
    said = capsys.readouterr().out
    assert f'{out / "report.html"}: no scores are left to' in said
    scores = pd.read_csv(out / 'scores.csv').set_index(['score', 'method'])
    names = {'first-run', 'second-run', 'scratch'}
    trivial = {'middle-frame', 'motion-energy'}
    for score, methods in (
        ('finetune', names),
        ('linear', names | trivial),
        ('knn', names | trivial),
    ):
        part = scores.loc[score]
        assert {*part.index} == methods | {'most frequent class'}
        assert part.top1.between(0, 100).all()
        assert (part.train == 4).all() and (part.test == 4).all()
        # As many clips of either class.
        assert part.top1['most frequent class'] == 50
    # A picture's brightness is the class.
    assert scores.top1['linear', 'middle-frame'] == 100
    page = (out / 'report.html').read_text()
    assert 'first-run - second-run' in page and 'first-run' in said
    # Test videos choose nothing.
    assert not list(out.rglob('best*.pth'))
    result = json.loads((out / 'results.json').read_text())
    for row in result['differences']:
        # One pair has no interval; what is equal does not differ.
        assert row['low'] is None
        same = row['methods'] == 'first-run - second-run'
        assert row['difference'] == 0 or not same
    assert not any('pretrained, without' in note for note in result['notes'])

    # Another fold comes on top, and no score is measured again.
    before = _files(out)
    assert len(before) == 13
    bimm(*words, '--kind', 'knn')
    after = _files(out)
    assert len(after) == 13 + 5
    assert {name: after[name] for name in before} == before
    result = json.loads((out / 'results.json').read_text())
    for row in result['differences']:
        assert (row['pairs'], row['incomplete']) == (2, 0)
    # Of the other fold's test clips, all were seen without classes.
    assert any('on 4 of 8 test videos' in note for note in result['notes'])


SPOILED = [
    ('run/run.json', dict(checkpoint=None), 'is not finished: repeat its com'),
    (
        'run/run.json',
        dict(verb='finetune'),
        'is a run of bimm finetune, which',
    ),
    ('run/config.py', (f'_frames={FRAMES}', '_frames=1'), 'encoder of images'),
    (
        'run/config.py',
        ('bimm_mm.BIMMVision', 'mmpretrain.Vision'),
        "has the encoder 'mmpretrain.VisionTransformer'",
    ),
    (
        'run/config.py',
        "model = dict(type='mmpretrain.MAE')",
        "has the encoder 'None'",
    ),
    ('data/data.json', dict(classes=[]), 'has no classes'),
    (
        'data/data.json',
        dict(folds=[], splits={'train': 'train.txt'}),
        'has neither folds nor val.txt',
    ),
    (
        'data/fold1_train.txt',
        ('of mine/4.avi\t0\n', ''),
        "fold1_train.txt has 1 video(s) of class 'dark', and 2 are needed",
    ),
]


@pytest.mark.parametrize(('file', 'how', 'said'), SPOILED)
def test_what_cannot_be_compared_is_told_first(
    file, how, said, runs, scanned, tmp_path, mistake
):
    run = Path(shutil.copytree(runs[1], tmp_path / 'run'))
    data = Path(shutil.copytree(scanned, tmp_path / 'data'))
    spoil(tmp_path / file, how)
    out = tmp_path / 'out'
    assert said in mistake('compare', runs[0], run, data, '--out', out)
    assert not out.exists()


def test_other_mistakes(runs, scanned, tmp_path, bimm, mistake):
    out, more = tmp_path / 'out', ['compare', *runs, scanned]
    assert '1 run to compare' in mistake(
        'compare', runs[0], scanned, '--out', out
    )
    assert 'each once' in mistake(*more[:2], *more[1::2], '--out', out)
    assert "kind='svm'" in mistake(*more, '--out', out, '--kind', 'svm')
    assert 'fold=2' in mistake(*more, '--out', out, '--folds', 3)
    assert 'seeds=0 must' in mistake(*more, '--out', out, '--seeds', 0)
    no_training = ['--kind', 'knn', '--seeds', 2]
    assert '--seeds would have' in mistake(*more, '--out', out, *no_training)
    assert 'with --batch-size' in mistake(
        *more, '--out', out, '--set', 'train_dataloader.batch_size=3'
    )
    assert 'no comparison' in mistake(*more, '--out', runs[0])
    assert not out.exists()
    # Nothing is written, and a comparison with other numbers is refused.
    words = [*more, '--out', out, *FAST]
    bimm(*words, '--kind', 'knn', '--dry-run')
    assert not out.exists()
    bimm(*words, '--minutes', 0)
    assert 'with other epochs' in mistake(*words, '--epochs', 2)


def test_of_two_into_one_folder_the_second_ends_at_once(
    runs, scanned, tmp_path, mistake
):
    out = tmp_path / 'out'
    words = ['compare', *runs, scanned, '--out', out, *FAST, '--kind', 'knn']
    first = Started(main, [*map(str, words)], log=tmp_path / 'log')
    wait_until((out / 'compare.json').exists)
    first.signal(signal.SIGSTOP)
    before = sorted(out.rglob('*'))
    try:
        assert f'another command writes into {out}: wait' in mistake(*words)
        assert sorted(out.rglob('*')) == before
    finally:
        first.signal(signal.SIGCONT)
    assert first.wait() == [0], first.said


def test_a_run_keeps_its_name_when_others_come(runs, scanned, tmp_path):
    paths = [tmp_path / name for name in ('a/run', 'b/sun', 'c/run')]
    for path in paths:
        run = Path(shutil.copytree(runs[0], path))
        (weights,) = run.glob('*.pth')
        weights.write_text(str(path))  # of its own

    def compare(*chosen: Path) -> Comparison:
        return Comparison(
            chosen, scanned, out=tmp_path / 'out', epochs=1, batch_size=4
        )

    first = compare(*paths[:2])
    first.run(minutes=0)
    assert list(first.runs) == ['run', 'sun', 'scratch']
    for chosen in (paths, paths[::-1]):
        second = compare(*chosen)
        assert {second.runs[name] for name in ('run', 'sun', 'c-run')} == {
            *paths
        }
        assert second.runs['run'] == paths[0]
        second.run(minutes=0)
    # Alone it would be called like the first.
    assert list(compare(paths[2]).runs) == ['c-run', 'scratch']
    weights.write_text('other weights in the same place')
    with pytest.raises(ValueError, match='other weights in the run run'):
        compare(paths[2]).run(minutes=0)


def test_time_that_is_up_while_a_config_is_laid_out_is_no_syntax_error():
    cfg = Config(dict(values=[dict(number=n) for n in range(100)]))
    with pytest.raises(KeyboardInterrupt), time_limit(0.2):
        while True:
            assert cfg.pretty_text


class Removed:
    """Takes a second to be removed, while Python ignores errors."""

    def __del__(self) -> None:
        time.sleep(1)


def test_time_that_is_up_while_an_object_is_removed_is_not_lost():
    with pytest.raises(KeyboardInterrupt), time_limit(0.2):
        Removed()
        time.sleep(5)
