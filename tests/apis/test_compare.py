"""Runs compared on own videos: through the command, with real runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from mmengine.config import Config

from bimm_mm.apis.own import pretrain
from bimm_mm.cli import main
from bimm_mm.utils.interrupts import time_limit

SIDE, FRAMES = 32, 4
HERE = {
    f'{part}_dataloader.{key}': value
    for key, value in dict(num_workers=0, persistent_workers=False).items()
    for part in ('train', 'val', 'test')
}
FAST = [
    *('--epochs', '1', '--batch-size', '4'),
    *(f'--set={key}={value}' for key, value in HERE.items()),
]


def _write_lists(folder: Path, name: str, **lists: list[str]) -> dict:
    for part, lines in lists.items():
        (folder / f'{name}{part}.txt').write_text('\n'.join(lines) + '\n')
    return {part: f'{name}{part}.txt' for part in lists}


@pytest.fixture(scope='session')
def scanned(tmp_path_factory) -> Path:
    """Eight clips in two classes, dark and bright; two folds."""
    folder = tmp_path_factory.mktemp('scanned')
    (folder / 'my videos').mkdir()
    rng = np.random.default_rng(0)
    lines = []
    for number in range(8):
        path = folder / 'my videos' / f'clip {number}.avi'
        fourcc = cv2.VideoWriter_fourcc(*'MJPG')
        writer = cv2.VideoWriter(str(path), fourcc, 25, (48, 36))
        low = 160 * (number % 2)
        for _ in range(8):
            writer.write(rng.integers(low, low + 90, (36, 48, 3), np.uint8))
        writer.release()
        lines.append(f'clip {number}.avi\t{number % 2}')
    first, second = lines[:4], lines[4:]
    split = _write_lists(folder, '', train=first, val=second)
    other = _write_lists(folder, 'fold1_', train=second, val=first)
    content = dict(
        root=str(folder / 'my videos'),
        classes=['dark', 'bright'],
        delimiter='\t',
        frame_interval=1,
        splits=split,
        folds=[split, other],
    )
    (folder / 'data.json').write_text(json.dumps(content))
    return folder


@pytest.fixture(scope='session')
def runs(scanned, tmp_path_factory) -> list[Path]:
    """A pretraining and a copy of it in a folder of the same name."""
    home = tmp_path_factory.mktemp('runs')
    first, second = home / 'first' / 'run', home / 'second' / 'run'
    pretrain(
        scanned,
        out=first,
        method='videomae',
        size='tiny',
        epochs=1,
        image_size=SIDE,
        frames=FRAMES,
        options={k: v for k, v in HERE.items() if k.startswith('train')},
    )
    shutil.copytree(first, second)
    return [first, second]


def call(*words: object) -> int:
    """Run ``bimm compare``; its exit code."""
    with pytest.raises(SystemExit) as end:
        main(['compare', *map(str, words)])
    return end.value.code


def _files(out: Path) -> dict[str, int]:
    return {
        str(path.relative_to(out)): path.stat().st_mtime_ns
        for path in out.rglob('fold*/*.json')
    }


@pytest.mark.slow
def test_runs_are_compared_and_the_same_command_goes_on(
    runs, scanned, tmp_path, capsys
):
    out = tmp_path / 'out'
    words = [*runs, scanned, '--out', out, *FAST]
    # Time runs out before anything is measured.
    assert call(*words, '--folds', 1, '--minutes', 0) == 0
    assert 'stopped: the same command goes on' in capsys.readouterr().out
    assert json.loads((out / 'results.json').read_text())['left'] == 13
    # A finetuning that was stopped before its first checkpoint.
    stopped = dict(verb='finetune', method='videomae', size='tiny', fold=0)
    stopped |= dict(data=str(scanned), run=str(runs[0]))
    path = out / 'scratch' / 'fold0-seed0' / 'finetune' / 'run.json'
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**stopped, 'classes': ['dark', 'bright']}))
    assert call(*words, '--folds', 1) == 0
    said = capsys.readouterr().out
    assert f'{out / "report.html"}: 0 scores to measure' in said
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
    assert call(*words, '--kind', 'linear', '--kind', 'knn') == 0
    after = _files(out)
    assert len(after) == 13 + 10
    assert {name: after[name] for name in before} == before
    result = json.loads((out / 'results.json').read_text())
    for row in result['differences']:
        assert (row['pairs'], row['incomplete']) == (2, 0)
    # Of the other fold's test clips, all were seen without classes.
    assert any('on 4 of 8 test videos' in note for note in result['notes'])


def _change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _replace(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ('spoil', 'said'),
    [
        (
            lambda run, data: _change(run / 'run.json', checkpoint=None),
            'is not finished: repeat its command',
        ),
        (
            lambda run, data: _replace(
                run / 'config.py', f'num_frames={FRAMES}', 'num_frames=1'
            ),
            'has an encoder of images',
        ),
        (
            lambda run, data: _replace(
                run / 'config.py',
                "'bimm_mm.BIMMVisionTransformer'",
                "'mmpretrain.VisionTransformer'",
            ),
            "has the encoder 'mmpretrain.VisionTransformer'",
        ),
        (
            lambda run, data: (run / 'config.py').write_text(
                "model = dict(type='mmpretrain.MAE')"
            ),
            "has the encoder 'None'",
        ),
        (
            lambda run, data: _change(run / 'run.json', verb='finetune'),
            'is a run of bimm finetune, which has seen classes',
        ),
        (
            lambda run, data: _change(data / 'data.json', classes=[]),
            'has 0 class(es)',
        ),
        (
            lambda run, data: _change(
                data / 'data.json', folds=[], splits={'train': 'train.txt'}
            ),
            'has neither folds nor val.txt',
        ),
        (
            lambda run, data: _replace(
                data / 'fold1_train.txt', 'clip 4.avi\t0\n', ''
            ),
            "fold1_train.txt has 1 video(s) of class 'dark', and 2 are needed",
        ),
        (lambda run, data: shutil.rmtree(run), 'has no run.json'),
        (lambda run, data: (data / 'data.json').unlink(), 'has no data.json'),
    ],
)
def test_what_cannot_be_compared_is_told_first(
    spoil, said, runs, scanned, tmp_path, mistake
):
    run = Path(shutil.copytree(runs[1], tmp_path / 'run'))
    data = Path(shutil.copytree(scanned, tmp_path / 'data'))
    spoil(run, data)
    out = tmp_path / 'out'
    assert said in mistake(runs[0], run, data, '--out', out)
    assert not out.exists()


@pytest.fixture
def mistake(capsys) -> Callable[..., str]:
    """The one sentence with which the command ends."""

    def of(*words: object) -> str:
        assert call(*words) == 2
        said = capsys.readouterr().err
        assert said.count('\n') == 1 and said.startswith('bimm: error: ')
        return said

    return of


def test_other_mistakes(runs, scanned, tmp_path, mistake):
    out, more = tmp_path / 'out', [*runs, scanned]
    assert '1 run to compare' in mistake(runs[0], scanned, '--out', out)
    assert 'each once' in mistake(runs[0], *more[::2], '--out', out)
    assert 'has no data.json' in mistake(*runs, runs[0], '--out', out)
    assert "kind='svm'" in mistake(*more, '--out', out, '--kind', 'svm')
    assert 'fold=2' in mistake(*more, '--out', out, '--folds', 3)
    file = tmp_path / 'file'
    file.touch()
    assert 'give another --out' in mistake(*more, '--out', file / 'out')
    assert 'no comparison' in mistake(*more, '--out', runs[0])
    assert not out.exists()
    # Nothing is written, and a comparison with other numbers is refused.
    words = [*more, '--out', out, *FAST]
    assert call(*words, '--kind', 'knn', '--dry-run') == 0
    assert not out.exists()
    assert call(*words, '--minutes', 0) == 0
    assert 'with other epochs' in mistake(*words, '--epochs', 2)


def test_time_that_is_up_while_a_config_is_laid_out_is_no_syntax_error():
    cfg = Config(dict(values=[dict(number=n) for n in range(100)]))
    with pytest.raises(KeyboardInterrupt), time_limit(0.2):
        while True:
            assert cfg.pretty_text
