"""Which results enter the paper's tables, and damaged records."""

from __future__ import annotations

import json
import os
import pickle
import random
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from bimm_mm.registry import DATASETS
from projects.paper_tables import leaderboard
from projects.paper_tables.match import read_results
from projects.paper_tables.tables import read_tables

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FILE = read_tables()
VENTRAL = {'model.ventral_checkpoint': 'x/ventral/epoch_800.pth'}
JOINT = {'model.backbone.init_cfg.checkpoint': 'x/joint/epoch_800.pth'}
# Work directory, config, where it starts, and last epoch.
STAGES = [
    ('ventral', 'bimm/pretrain_ventral_in1k.py', {}, 800),
    ('joint', 'ablations/ablation_mask_50.py', VENTRAL, 800),
    ('', 'downstream/ucf101/finetune_ucf101.py', JOINT, 100),
]


def _leave(folder: Path, cfg: Config, samples: int, *said: str) -> None:
    """Write what MMEngine and our tools leave of a call."""
    folder.mkdir(parents=True)
    record = {'command': 'python tools/x.py', 'revision': '0.1.0, git abc'}
    record |= {'machine': '16 x NVIDIA H200', 'samples': samples}
    text = json.dumps({**record, 'config': cfg.to_dict()})
    (folder / 'provenance.json').write_text(text)
    (folder / f'{folder.name}.log').write_text('\n'.join(said))


@pytest.fixture
def finetuned(tmp_path) -> Callable[..., Path]:
    """Leave three trainings and the test of '0.5' of Table 7f."""

    def write(
        name: str = 'finetune', top1: Any = 0.9, samples=(), **options: Any
    ) -> Path:
        counts = {'ventral': 1_281_167, 'joint': 9537, name: 9537, 't': 3783}
        counts.update(samples)
        for day, (stage, path, start, last) in enumerate(STAGES, 1):
            stage = stage or name
            cfg = Config.fromfile(CONFIGS / path)
            cfg.merge_from_dict({**start, **({} if day < 3 else options)})
            folder = tmp_path / stage / f'2026010{day}_000000'
            if not folder.exists():
                saved = f'Saving checkpoint at {last} epochs'
                _leave(folder, cfg, counts[stage], saved)
        cfg.load_from = f'work_dirs/{name}/epoch_100.pth'
        folder = tmp_path / name / '20260104_000000'
        _leave(folder, cfg, counts['t'])
        path = folder / f'{folder.name}.json'
        path.write_text(json.dumps({'acc/top1': top1, 'acc/top5': 0.99}))
        return path

    return write


def _read(folder: Path) -> tuple[list, list, list]:
    return read_results([folder], FILE)


def _page(folder: Path) -> str:
    return leaderboard.render(FILE, *_read(folder))


HALF = ('7f', '0.5 ViT-B IN-1K+UCF101 800', 'UCF101')


# What changes no result.
FREE = {
    **{'work_dir': 'elsewhere', 'launcher': 'slurm', 'randomness.seed': 7},
    **{'train_dataloader.batch_size': 4, 'model.backbone.with_cp': True},
    'optim_wrapper.accumulative_counts': 8,
    'test_dataloader.dataset.ann_file': '/data/list.txt',
    'default_hooks.logger.interval': 1,
}


@pytest.mark.parametrize('options', [{}, FREE])
def test_a_run_with_the_configs_of_a_row_stands_in_it(
    finetuned, tmp_path, options
):
    finetuned(**options)
    (match,), others, rejected = _read(tmp_path)
    assert match.cells == [HALF] and not (others or rejected)
    figures = leaderboard.tabulate(FILE, [match]).loc['7f']
    ours = figures.loc[HALF[1], 'Acc']
    assert (ours['paper'], ours['ours']) == (91.7, 90.0)
    assert ours['difference'] == pytest.approx(-1.7)
    assert figures['ours'].notna().sum() == 1


def test_a_complete_run_on_ava_stands_in_its_rows(tmp_path):
    """Annotations are of fewer seconds than the paper's segments."""
    # A sixteenth of v2.1: 64 videos of 897 seconds, 50,250 of them annotated.
    seconds = [f'v{v},{s:04d}' for v in range(4) for s in range(902, 1799)]
    frames = sorted(random.Random(0).sample(seconds, 3141))
    rows = [f'{frame},0.1,0.2,0.5,0.9,12,0' for frame in frames]
    (tmp_path / 'val.csv').write_text('\n'.join(rows))
    (tmp_path / 'v0').mkdir()
    person = np.array([[0.1, 0.2, 0.5, 0.9, 0.95]])
    # Two key frames of a hundred have no confident person.
    found = dict.fromkeys(frames[:-63], person)
    found |= {frame: person * [1, 1, 1, 1, 0.5] for frame in frames[-63:]}
    (tmp_path / 'found.pkl').write_bytes(pickle.dumps(found))
    final = Config.fromfile(CONFIGS / 'downstream/ava/finetune_ava.py')
    whole = final.test_dataloader.dataset
    whole.dataset.update(
        ann_file=str(tmp_path / 'val.csv'),
        proposal_file=str(tmp_path / 'found.pkl'),
        data_prefix=dict(img=str(tmp_path)),
        exclude_file=None,
        label_file=None,
        pipeline=[],
    )
    init_default_scope('mmaction')
    count = len(DATASETS.build(whole))
    assert count == 3141 - 63
    stages = [
        ('ventral', 'bimm/pretrain_ventral_in1k', 800, 1_281_167),
        ('joint', 'bimm/pretrain_joint_k400', 800, 240_000),
        ('ava', 'downstream/ava/finetune_ava', 30, 184_378),
    ]
    starts = ({}, VENTRAL, JOINT)
    for day, (stage, path, last, samples) in enumerate(stages):
        cfg = Config.fromfile(CONFIGS / f'{path}.py')
        cfg.merge_from_dict(starts[day])
        folder = tmp_path / stage / f'2026010{day}_000000'
        _leave(folder, cfg, samples, f'Saving checkpoint at {last} epochs')
    cfg.load_from = 'work_dirs/ava/epoch_30.pth'
    folder = tmp_path / 'ava' / '20260104_000000'
    _leave(folder, cfg, 16 * count)
    metrics = {'mAP/overall': 0.3}
    (folder / f'{folder.name}.json').write_text(json.dumps(metrics))
    matched, others, rejected = _read(tmp_path)
    assert not rejected and not others, (rejected, others)
    assert [c[::2] for c in matched[0].cells] == [('3', 'AVA v2.2')]


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'train_cfg.max_epochs': 2}, 'train_cfg.max_epochs: 2 instead'),
        (
            {'train_dataloader.batch_size': 16},
            'finetune: total batch size 256 instead of 512',
        ),
        (
            {'test_dataloader.dataset.pipeline.0.transforms.1.num_clips': 1},
            'test: test_dataloader.dataset.pipeline.0.transforms.1.num_clips',
        ),
        ({'samples': {'t': 36}}, 'test: 36 samples instead of 3783'),
        ({'samples': {'ventral': 1000}}, 'ventral: 1000 samples instead of'),
    ],
)
def test_a_toy_or_changed_run_stands_in_no_row(
    finetuned, tmp_path, options, words
):
    finetuned(**options)
    matched, (other,), _ = _read(tmp_path)
    assert not matched
    assert other.nearest == f'{HALF[1]} of table 7f, UCF101'
    assert any(words in line for line in other.differences), other.differences
    assert '<table>' not in _page(tmp_path)


def test_a_training_stands_in_its_row_once_it_was_resumed_to_the_end(
    finetuned, tmp_path
):
    first = finetuned().parents[1] / '20260103_000000'
    log = first / f'{first.name}.log'
    log.write_text(log.read_text().replace('at 100 epochs', 'at 60 epochs'))
    _, (other,), _ = _read(tmp_path)
    assert other.differences == [
        'finetune: it ended at 60, before epoch_100.pth'
    ]
    cfg = Config.fromfile(CONFIGS / 'downstream/ucf101/finetune_ucf101.py')
    cfg.resume = True
    cfg.model.backbone.pop('init_cfg')
    said = ('resumed epoch: 60, iter: 1', 'Saving checkpoint at 100 epochs')
    second = first.with_name('20260103_120000')
    _leave(second, cfg, 9537, *said)
    (match,), _, _ = _read(tmp_path)
    assert match.cells == [HALF]
    shutil.rmtree(first)
    _, _, (rejected,) = _read(tmp_path)
    assert 'the log of the beginning' in rejected.reason


def test_of_two_results_the_latest_is_shown_and_both_listed(
    finetuned, tmp_path
):
    finetuned(top1=0.905)
    finetuned(name='again', top1=0.95)
    path = tmp_path / 'again' / '20260104_000000'
    for file in list(path.glob(f'{path.name}*')):
        file.rename(path / f'20260103_120000{file.suffix}')
    path.rename(path.with_name('20260103_120000'))
    page = _page(tmp_path)
    cells = re.findall(r'<td[^>]*>([^<]*)</td>', page)
    start = cells.index('0.5')
    assert cells[start : start + 5] == ['0.5', '91.7', '90.5', '-1.2', '1, 2']
    assert 'batch sizes of the trainings: 2048, 1024, 512<' in page
    assert '16 x NVIDIA H200' in page and '0.1.0, git abc' in page
    assert page.count('python tools/x.py') == 8


# What a field of a record may turn into; NaN is what json.dumps makes of it.
WRONG = (
    *(None, True, 'text', '', [], [0.5], {}, {'x': 1}, -1, -0.5),
    *(float('nan'), float('inf'), 10**400, 9000.0, [[[[]]]] * 99),
)
# What a file may turn into.
BROKEN: dict[str, Callable[[Path], Any]] = {
    'empty': lambda path: path.write_bytes(b''),
    'binary': lambda path: path.write_bytes(bytes(range(256)) * 9),
    'latin-1': lambda path: path.write_text('{"\xe9": 1}', 'latin-1'),
    'half': lambda path: path.write_bytes(path.read_bytes()[:-9]),
    'deep': lambda path: path.write_text('{"x":' * 100_000),
    'null': lambda path: path.write_text('null'),
    'gone': lambda path: None,
    'folder': lambda path: path.unlink() or path.mkdir(),
    'pipe': lambda path: path.unlink() or os.mkfifo(path),
    'link': lambda path: path.unlink() or path.symlink_to('/dev/zero'),
    'loop': lambda path: path.unlink() or path.symlink_to(path),
    'large': lambda path: os.truncate(path, 1 << 31),
}


def _damages(sound: dict[str, Path]) -> Iterator[tuple[str, Callable]]:
    """Every file broken, and every field of a record with a wrong type."""
    for name, path in sound.items():
        for how, change in BROKEN.items():
            yield f'{name} {how}', partial(lambda at, do: do(at), do=change)
        if path.suffix != '.json':
            continue
        for key, value in json.loads(path.read_text()).items():
            for number, wrong in enumerate(WRONG):
                if type(wrong) in (type(value), dict) and key == 'config':
                    continue  # another run, which is listed
                if isinstance(wrong, str) and isinstance(value, str):
                    continue

                def swap(at: Path, key: str = key, wrong: Any = wrong):
                    content = {**json.loads(at.read_text()), key: wrong}
                    at.write_text(json.dumps(content))

                yield f'{name} {key} {number}'.replace('/', ' '), swap


def test_damaged_records_are_rejected_by_name_and_the_page_is_written(
    finetuned, tmp_path, capsys
):
    metrics = finetuned()
    work_dirs = tmp_path / 'work_dirs'
    shutil.copytree(tmp_path, work_dirs / 'sound')
    files = {
        'metrics': metrics,
        'log': tmp_path / 'joint/20260102_000000/20260102_000000.log',
        'training': tmp_path / 'joint/20260102_000000/provenance.json',
    }
    damages = dict(_damages(files))
    for name, change in damages.items():
        for stage in ('ventral', 'joint', 'finetune'):
            shutil.copytree(tmp_path / stage, work_dirs / name / stage)
        path = files[name.split()[0]].relative_to(tmp_path)
        if name.endswith('gone'):
            (work_dirs / name / path).unlink()
        change(work_dirs / name / path)
    page = tmp_path / 'page'
    assert leaderboard.main([str(work_dirs), '--out', str(page)]) == 0
    out = capsys.readouterr().out
    gone = 1  # without a file of metrics there is no result
    numbers = f'0 of other runs, {len(damages) - gone} rejected'
    assert f'1 result(s) in tables, {numbers}' in out
    text = (page / 'leaderboard.html').read_text()
    for name in damages:
        named = f'{work_dirs / name}/finetune'
        assert name == 'metrics gone' or (named in out and named in text), name
    lines = pd.read_csv(page / 'leaderboard.csv')
    assert lines['ours'].notna().sum() == 1


def test_hostile_names_and_texts_are_escaped(finetuned, tmp_path, capsys):
    # Not UTF-8, a line break, quotes and markup; as long as a name may be.
    evil = os.fsdecode(b'\xff\n\'"<img src=x onerror=alert(1)><!-- `$(x)` ')
    evil += 'x' * (250 - len(os.fsencode(evil)))
    for name, options in {'x': {}, 'y': {'train_cfg.max_epochs': 2}}.items():
        record = finetuned(name=evil + name, **options)
        record = record.with_name('provenance.json')
        content = json.loads(record.read_text())
        content |= {'command': f'</pre>{evil}', 'revision': evil}
        record.write_text(json.dumps(content))
    finetuned(name=f'{evil}z', top1='?')
    page = tmp_path / 'page'
    assert leaderboard.main([str(tmp_path), '--out', str(page)]) == 0
    out = capsys.readouterr().out
    assert '1 result(s) in tables, 1 of other runs, 1 rejected' in out
    assert '\\udcff' in out
    text = (page / 'leaderboard.html').read_text()
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append(tag)
    parser.handle_comment = tags.append
    parser.feed(text)
    assert 'img' not in tags and not any('x' in tag for tag in tags)
    assert text.count('&lt;img src=x') > 6
