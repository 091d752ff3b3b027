"""The script: from feature files to a table and a result file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bimm_mm.apis.feature_file import Features, write_features

META = {
    'features': 'encoder',
    'checkpoint_sha256': 'ab',
    'blocks': [2],
    'config_text': 'long',
}


def planted(count: int, right: int, name: str, **meta) -> Features:
    """Six classes; the first ``right`` samples look like theirs."""
    shown = np.arange(count) % 6
    rng = np.random.default_rng(count)
    x = np.eye(6)[shown] + 0.02 * rng.normal(size=(count, 6))
    labels = np.where(np.arange(count) < right, shown, (shown + 1) % 6)
    paths = [f'{name}/{row}.mp4' for row in range(count)]
    return Features({'features': x}, labels, paths, META | meta)


@pytest.fixture
def run(call_tool) -> Callable[..., list[dict]]:
    """Run the script in a folder with feature files; its JSON."""
    write_features(planted(60, 60, 'train'), 'train.npz')
    write_features(planted(40, 28, 'val'), 'val.npz')
    write_features(planted(40, 28, 'val', blocks=[1]), 'other.npz')

    def call(*arguments: str) -> list[dict]:
        call_tool('probe', *arguments, '--out', 'out.json')
        return json.loads(Path('out.json').read_text())

    return call


def test_planted_accuracy_of_two_files(run, capsys):
    linear, knn = run('train.npz', 'val.npz')
    assert (linear['method'], knn['method']) == ('linear', 'knn')
    for result in (linear, knn):
        assert result['top1'] == pytest.approx(70)
        assert result['top1_std'] is None
        assert result['folds'][0]['train'] == 60
        assert result['meta']['checkpoint_sha256'] == 'ab'
        assert 'config_text' not in result['meta']
    said = capsys.readouterr().out
    assert said.count(' 70.0') == 4 and 'chance 16.7 %' in said
    # Wilson, by hand: 28 of 40.
    assert said.count('54.6 to 81.9') == 2
    linear, knn = run('train.npz', 'val.npz', '--c', '0.5', '--k', '4')
    assert linear['folds'][0]['settings'] == {'C': 0.5}
    assert knn['folds'][0]['settings'] == {'k': 4}
    [only] = run('train.npz', 'val.npz', '--method', 'knn')
    assert only['method'] == 'knn'


def test_folds_of_each_file_and_every_block(run, tmp_path):
    everything = planted(90, 72, 'all')
    x = everything.arrays['features']
    arrays = {'features_block1': x, 'features_block2': np.ones_like(x)}
    write_features(
        Features(arrays, everything.labels, everything.paths, META), 'b.npz'
    )
    write_features(everything, 'a.npz')
    # The first 72 look like their class, of the last 18 none does.
    for number, rows in enumerate((range(60, 72), range(66, 78))):
        for half, chosen in (
            ('train', sorted(set(range(72)) - set(rows))),
            ('val', rows),
        ):
            (tmp_path / f'f{number}_{half}.txt').write_text(
                ''.join(
                    f'all/{row}.mp4 {everything.labels[row]}\n'
                    for row in chosen
                )
            )
    results = run(
        'a.npz', 'b.npz', '--method', 'knn', '--folds', 'f{}_train.txt',
        'f{}_val.txt',
    )  # fmt: skip
    named = {(r['source'], r['array']): r for r in results}
    assert list(named) == [
        ('a', 'features'), ('b', 'features_block1'), ('b', 'features_block2'),
    ]  # fmt: skip
    for key in list(named)[:2]:
        folds = named[key]['folds']
        assert [fold['fold'] for fold in folds] == ['0', '1']
        assert [fold['top1'] for fold in folds] == [100, 50]
        assert named[key]['top1'] == 75
    # Equal vectors tell nothing.
    assert named['b', 'features_block2']['top1'] < 50


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['train.npz', 'other.npz'], r'blocks of .* \[2\], .* \[1\]'),
        (['tiny.py'], 'or a config and a checkpoint, not tiny.py'),
        (['train.npz', 'val.npz', '--k', '0'], "'n_neighbors'"),
    ],
)
def test_mistakes_end_in_one_line(run, arguments, message):
    with pytest.raises(SystemExit, match=f'probe.py: error: .*{message}'):
        run(*arguments)
    assert not Path('out.json').exists()
