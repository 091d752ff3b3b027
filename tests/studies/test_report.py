"""The report on made-up results, whose right page is known."""

from __future__ import annotations

import json
import re
import statistics

import numpy as np
import pytest

from studies.mini import prose
from studies.mini.comparisons import compare
from studies.mini.figures import draw_curves, on_one_grid, panels
from studies.mini.findings import beaten, sentence
from studies.mini.page import page
from studies.mini.reading import read_results
from studies.mini.report import main, read_settings, write_report
from studies.mini.scores import Setting, Study, summarise
from studies.mini.units import Unit

CLIPS = Setting('small', 'train', 'clips')
NOISE = (1.5, -1.0, 0.5, -1.5, 0.5)  # by fold
AREAS = ('V1', 'MT')


def record(kind, method, seed=0, fold='0', size='small', **others):
    """A finished record, as the driver writes it."""
    unit = Unit(kind, method, size, seed, fold, 'clips', 'train')
    return {
        'id': unit.id,
        'unit': dict(vars(unit)),
        'finished': True,
        'config': '{}',
        'revision': '0.1.0, git abc',
        'hardware': {'device': 'Card', 'processes': 1, 'torch': '2'},
        'seconds': 100.0,
        'steps': 400,
        'clips': 25600,
        'steps_per_second': 4.0,
        'gpu_busy': 0.875,
        'jobs': 1,
        'data': {'name': 'd', 'sha256': 'f' * 64, 'videos': 120, 'classes': 6},
        'curves': {},
        'diagnosis': None,
        'scores': {},
    } | others


def score(top1):
    return {'top1': top1, 'n': 24, 'majority': 16.5, 'correct': None}


def finetunings(method, accuracy, seeds=(0, 1, 2), **others):
    return [
        record(
            'finetune',
            method,
            seed,
            str(fold),
            scores={'finetune': score(accuracy + seed + (-1) ** seed * noise)},
            **others,
        )
        for seed in seeds
        for fold, noise in enumerate(NOISE)
    ]


def write(records, folder):
    path = folder / 'results.json'
    path.write_text(json.dumps({'format': 1, 'records': records}))
    return path


def render(records, folder):
    runs = read_results(write(records, folder))
    return page(runs, out=folder / 'page.md', images=folder / 'images')


def noisy(records):
    """Add something that differs between methods, so that there is spread."""
    for index, each in enumerate(records):
        each['scores']['finetune']['top1'] += index % 3 * 0.3
    return records


@pytest.mark.parametrize(
    ('bimm', 'words', 'wins'),
    [
        (70, 'BIMM is better than VideoMAE by 10.3 points', True),
        (50, 'BIMM is worse than VideoMAE by 9.7 points', False),
        (60, 'no difference between BIMM and VideoMAE can be shown', False),
    ],
)
def test_the_sentence_is_that_of_the_result(tmp_path, bimm, words, wins):
    records = finetunings('videomae', 60.0) + noisy(finetunings('bimm', bimm))
    text = render(records, tmp_path)
    assert f'- Small, same clips, finetuning: {words}' in text
    assert (prose.BESIDES in text) is not wins
    study = Study(read_results(tmp_path / 'results.json'))
    found = compare(study, 'bimm', 'videomae', CLIPS, 'finetune')
    assert beaten([found]) is wins


def test_swapping_names_swaps_the_sentences(tmp_path):
    records = finetunings('videomae', 60.0) + noisy(finetunings('bimm', 70.0))
    study = Study(read_results(write(records, tmp_path)))
    ours = sentence(compare(study, 'bimm', 'videomae', CLIPS, 'finetune'))
    theirs = sentence(compare(study, 'videomae', 'bimm', CLIPS, 'finetune'))
    assert ours.startswith('BIMM is better than VideoMAE')
    swapped = ours.replace('BIMM', 'X').replace('VideoMAE', 'BIMM')
    swapped = swapped.replace('X', 'VideoMAE')
    assert theirs == swapped.replace('better', 'worse')


def test_mean_and_deviation_are_over_seeds(tmp_path):
    study = Study(read_results(write(finetunings('bimm', 60), tmp_path)))
    cell = summarise(study.scores('bimm', CLIPS, 'finetune'))
    assert cell.mean == pytest.approx(61)
    assert cell.deviation == pytest.approx(statistics.stdev([60, 61, 62]))
    text = render(finetunings('bimm', 60), tmp_path)
    row = '| BIMM | 61.0 ± 1.0 (15) | not run | not run | not run |'
    assert row in text


def test_below_a_trivial_feature_nothing_is_said(tmp_path):
    records = finetunings('videomae', 60.0) + noisy(finetunings('bimm', 70.0))
    records.append(
        record(
            'trivial', 'trivial', scores={'linear:motion_energy': score(95)}
        )
    )
    text = render(records, tmp_path)
    assert 'Both are below motion energy (95.0 %): this comparison' in text
    assert 'BIMM, finetuning (71.3 %)' in text
    records[-1]['scores']['linear:motion_energy']['top1'] = 20.0
    text = render(records, tmp_path)
    assert 'every result is above motion energy (20.0 %)' in text
    assert '| motion energy | - | 20.0 (1) | not run |' in text
    assert '| most frequent class | 16.5 |' in text


def test_only_complete_pairs_are_used_and_others_told(tmp_path):
    records = finetunings('videomae', 60.0) + noisy(finetunings('bimm', 70.0))
    records[-1]['finished'] = False
    records[-2]['hardware'] = {'device': 'Other', 'processes': 1, 'torch': '2'}
    del records[0]
    text = render(records, tmp_path)
    (row,) = re.findall(r'\| BIMM minus VideoMAE .*', text)[:1]
    assert '(13)' in row
    assert '2 incomplete pairs not used (finetuning)' in row
    assert 'mixed hardware: device Card' in row and 'device Other' in row
    assert '28 finished and used, 1 begun and not finished' in text
    assert '- hardware: **mixed:** device Card' in text
    assert 'mixed revision' not in text


def test_toy_results_say_so_and_never_stand_beside_real_ones(tmp_path):
    toy = [
        each | {'id': each['id'].replace('small', 'toy')}
        for each in finetunings('bimm', 60.0, seeds=(0,))
    ]
    for each in toy:
        each['unit']['size'] = 'toy'
    text = render(toy, tmp_path)
    assert text.splitlines()[0] == prose.TOY
    assert '## Size toy' in text and '## Size small' not in text
    text = render(toy + finetunings('bimm', 70.0), tmp_path)
    assert text.splitlines()[0] == prose.TITLE
    assert '## Size toy' not in text and '| BIMM | 71.0 ± 1.0 (15)' in text
    assert '5 records of toy size are left out' in text


def curves(shift):
    steps = [100, 200, 400]
    return {
        area: {'step': steps, 'relative': [1.0, 0.9 + shift, 0.7 + shift]}
        for area in AREAS
    }


def diagnosis(norm):
    return {
        'iter': 400,
        'areas': {'V1': {'ratio': 0.5}, 'MT': {'ratio': 0.9}},
        'gradient_norm': {'V1': norm, 'MT': 0.25},
        'cosine': [[1.0, -0.5], [-0.5, 1.0]],
        'rank': {'dorsal_': {'blocks': [30.0, 8.0, 12.0], 'limit': 47}},
        'knn': None,
    }


def pretrainings():
    return [
        record(
            'pretrain',
            'bimm',
            seed,
            curves=curves(0.1 * seed),
            diagnosis=diagnosis(2.0 + seed),
        )
        for seed in (0, 1)
    ] + [record('ventral', 'ventral', seconds=7.0, curves=curves(0))]


def test_cost_and_diagnosis_are_means_over_runs(tmp_path):
    text = render(pretrainings(), tmp_path)
    assert (
        '| BIMM | same clips | 2 | 25600 | 400 | 100 | 7.00 | 4.00 | 87.5 | '
        '1 |' in text
    )
    assert '| BIMM | V1 | 0.500 | 2.50 | -0.500 | 2 |' in text
    assert '| BIMM | dorsal | 30.0 | 8.00 | 12.0 | 47.0 | - |' in text


def test_curves_are_the_mean_and_the_band_of_runs(tmp_path):
    study = Study(read_results(write(pretrainings(), tmp_path)))
    found = panels(study, CLIPS)
    assert set(found) == {'BIMM', 'stage ventral'}
    axes = {a.get_title(): a for a in draw_curves(found).axes}
    line = axes['BIMM'].get_lines()[0]
    np.testing.assert_allclose(line.get_ydata(), [1.0, 0.95, 0.75])
    band = axes['BIMM'].collections[0].get_paths()[0].vertices
    assert {0.7, 0.8} <= set(np.round(band[band[:, 0] == 400][:, 1], 9))
    steps, values = on_one_grid(
        [
            {'step': [0, 100], 'relative': [1.0, 0.0]},
            {'step': [0, 50], 'relative': [1.0, 0.8]},
        ]
    )
    np.testing.assert_allclose(steps, [0, 50])
    np.testing.assert_allclose(values, [[1.0, 0.5], [1.0, 0.8]])


def test_files_are_written_and_the_same_twice(tmp_path):
    path = write(pretrainings() + finetunings('bimm', 60.0), tmp_path)
    (tmp_path / 'pictures').mkdir()
    name = 'small-clips-train-bimm-seed0-fold0-pretrain.png'
    (tmp_path / 'pictures' / name).write_bytes(b'a picture')
    arguments = [str(path), '--out', str(tmp_path / 'docs' / 'page.md')]
    arguments += ['--images', str(tmp_path / 'docs' / 'images')]
    pictures = ['--pictures', str(tmp_path / 'pictures')]
    assert main([*arguments, *pictures]) == 0
    folder = tmp_path / 'docs'
    first = {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}
    links = re.findall(r'!\[.*?\]\((.*?)\)', (folder / 'page.md').read_text())
    assert links == [
        'images/mini_study_curves_small_clips_train.png',
        'images/mini_study_small_train_bimm.png',
    ]
    assert all((folder / link).is_file() for link in links)
    assert main(arguments) == 0
    assert first == {
        p: p.read_bytes() for p in folder.rglob('*') if p.is_file()
    }


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'studies\.mini\.run writes'):
        read_results(tmp_path / 'nothing.json')
    runs = read_results(write([], tmp_path))
    with pytest.raises(FileNotFoundError, match=r'--pictures: there is no'):
        write_report(
            runs,
            out=tmp_path / 'page.md',
            images=tmp_path,
            pictures=tmp_path / 'none',
        )
    with pytest.raises(FileNotFoundError, match=r'--settings: there is no'):
        read_settings(tmp_path / 'settings.json')
    (tmp_path / 'settings.json').write_text('{"pretraining": {"chosen": 3}}')
    with pytest.raises(ValueError, match=r'does not tell how'):
        read_settings(tmp_path / 'settings.json')


def test_chosen_settings_are_told(tmp_path):
    chosen = {'pretraining': {'chosen': 'lr6e-4', 'table': '| a |\n'}}
    (tmp_path / 'settings.json').write_text(json.dumps(chosen))
    text = page(
        [],
        out=tmp_path / 'page.md',
        images=tmp_path,
        chosen=read_settings(tmp_path / 'settings.json'),
    )
    assert 'pretraining: lr6e-4\n\n| a |\n' in text
    assert prose.UNCHOSEN[8:] not in text
