"""The paper's tables: rows and configs, and which results enter them."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from bimm_mm.models.checkpoints.load import load_pretrained
from bimm_mm.registry import DATASETS, MODELS
from projects.paper_tables import leaderboard, run_table
from projects.paper_tables.match import read_results
from projects.paper_tables.tables import read_tables
from tests.toy_configs import WIDTH, nested_dicts, shrink_model, shrink_sizes

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
FILE = read_tables()
TABLES, ROWS = FILE.tables, FILE.rows()
# Typed off the paper by hand: rows per table; BIMM's figures, and all of 7.
COUNTS = {
    **{'1': 16, '2': 21, '3': 7, '4': 9, '5': 9, '6': 7, '10': 16},
    'mam2': 3,
    **{'7a': 3, '7b': 3, '7c': 3, '7d': 4, '7e': 3, '7f': 4},
}
FIGURES = {
    '1': [85.0, 95.8, 87.9, 97.2],
    '2': [72.4, 93.4, 75.1, 96.0, 72.7, 93.8, 74.6, 96.0],
    '3': [34.7, 38.0],
    '4': [85.0, 87.9],
    '5': [84.8, 85.2],
    '6': [51.8, 45.5, 50.3],
    '7a': [90.9, 91.2, 92.5],  # none, UCF101, IN-1K
    '7b': [90.7, 91.0, 92.5],  # baseline, dorsal, BIMM
    '7c': [89.3, 90.2, 92.5],  # V1, V1-V2, all
    '7d': [91.0, 91.7, 91.3, 92.5],  # 12, 4-8-12, 6-9-12, 2-4-12
    '7e': [91.0, 92.5, 91.3],  # none, partial, all
    '7f': [91.7, 91.9, 92.5, 91.5],  # 0.5, 0.75, 0.9, 0.95
    '10': [94.8, 65.2, 97.6, 67.1, 97.2, 76.3, 98.5, 78.0],
    # The abstract: K400, SSv2, UCF101 and HMDB51.
    'mam2': [82.3, 71.3, 91.5, 62.5],
}
# Methods of ours and baselines.
METHODS = {
    *('BIMM', 'BIMM-V', 'VideoMAE', 'MotionMAE', 'MAE-ST', 'OmniMAE'),
    *('MAE', 'MaskFeat', 'DeepMIM', 'LocalMIM', 'MAM2'),
}


# The rows and their configs


def test_the_figures_are_the_papers():
    assert {name: len(TABLES[name].rows) for name in COUNTS} == COUNTS
    for name, figures in FIGURES.items():
        rows = TABLES[name].rows
        if name[0] != '7':
            rows = [r for r in rows if r.method.startswith(('BIMM', 'MAM2'))]
        found = [v for r in rows for v in r.values.values() if v]
        assert found == figures


def test_rows_of_our_methods_and_baselines_have_configs():
    for table, row in ROWS:
        method = row.method.rstrip('*')
        vit = row.backbone.startswith('ViT-')
        if (method in METHODS and vit) or table.name not in COUNTS:
            assert row.stages and row.finetune, (table.name, row.name)
        if row.values.get('Acc') == 92.5:
            assert row.stages[-1].stem == 'ablation_default'


def test_stages_epochs_and_backbones_are_those_of_the_configs():
    (init,) = [r for r in TABLES['7a'].rows if 'UCF101 Init' in r.name]
    assert [path.stem for path in init.stages] == [
        'pretrain_ventral_ucf101',
        'ablation_init_ucf101',
    ]
    for table, row in ROWS:
        if row.stages and row.epochs:
            cfg = Config.fromfile(row.stages[-1])
            epochs = cfg.train_cfg.max_epochs * cfg.get('repeats', 1)
            if (table.name, row.epochs) != ('5', '800+1600'):
                assert str(epochs) == row.epochs, row.name
            model = cfg.model.get('dorsal', cfg.model)
            size = {'base': 'ViT-B', 'large': 'ViT-L'}[model.backbone.arch]
            assert row.backbone in ('', size), row.name


def test_the_documents_name_every_config():
    pages = [ROOT / 'docs/reproduce.md', CONFIGS / 'ablations/README.md']
    text = ''.join(page.read_text(encoding='utf-8') for page in pages)
    paths = {path for _, row in ROWS for path in row.stages}
    paths |= {path for _, row in ROWS for path in row.finetune.values()}
    for path in paths:
        assert re.search(rf'\b{path.stem}(\.py)?`', text), path


PAIRS = {
    f'{row.stages[-1].stem} {path.stem}': (row.stages[-1], path, row.options)
    for _, row in ROWS
    for path in row.finetune.values()
}


@pytest.mark.parametrize('name', PAIRS)
def test_the_encoder_is_handed_over(name, tmp_path):
    """What a row pretrains fits what it finetunes, at a narrow width."""

    def tiny(backbone: dict) -> Any:
        depth = {'base': 12, 'large': 24}[backbone['arch']]
        arch = dict(embed_dims=16, depth=depth, num_heads=2)
        kept = {k: v for k, v in backbone.items() if k != 'init_cfg'}
        return MODELS.build(dict(kept, arch=arch))

    pretraining, finetuning, options = PAIRS[name]
    cfg = Config.fromfile(finetuning)
    cfg.merge_from_dict(dict(options))
    init_default_scope(cfg.default_scope)
    encoder = tiny(cfg.model.backbone)
    model = Config.fromfile(pretraining).model
    branch = 'dorsal' if encoder.video else 'ventral'
    prefix = f'{branch}.' if 'dorsal' in model else ''
    pretrained = tiny(model.get(branch, model).backbone)
    torch.manual_seed(0)
    for parameter in pretrained.parameters():
        torch.nn.init.normal_(parameter)
    state = pretrained.state_dict()
    saved = {f'{prefix}backbone.{key}': value for key, value in state.items()}
    torch.save({'state_dict': saved}, tmp_path / 'epoch_1.pth')
    load_pretrained(encoder, str(tmp_path / 'epoch_1.pth'))
    for key, value in encoder.state_dict().items():
        assert torch.equal(value, state[key]), key


TABLE = """
title: Mine
configs: .
benchmarks: {%(name)s: {train: 8, test: 8, finetune: {ViT-B: tune}}}
tables:
- name: t
  title: T
  columns: {Row: method}
  metrics: [{title: Acc, benchmark: %(name)s, key: accuracy/top1}]
  rows: [%(rows)s]
"""


@pytest.fixture
def table(tmp_path) -> Path:
    """Two rows that share a stage."""
    start = "model = dict(ventral_checkpoint='work_dirs/stage1/epoch_2.pth')\n"
    encoder = "backbone=dict(init_cfg=dict(type='P', checkpoint='x/y.pth'))"
    texts = {'stage1': 'model = dict()\n', 'a': start, 'b': start}
    texts['tune'] = f'model = dict({encoder})\n'
    for name, text in texts.items():
        path = tmp_path / f'{name}.py'
        path.write_text(f'{text}train_cfg = dict(max_epochs=2)\n')
    rows = '{method: a, pretrain: a}, {method: b, pretrain: b}'
    path = tmp_path / 'tables.yml'
    path.write_text(TABLE % {'name': 'UCF101', 'rows': rows})
    return path


def test_mistakes_in_a_row_are_named(table):
    assert len(read_tables(table).tables['t'].rows[0].stages) == 2
    table.write_text(table.read_text().replace('pretrain: a', 'pretrain: c'))
    with pytest.raises(ValueError, match=r"table t, row .*'a'.*c\.py"):
        read_tables(table)


# Which results enter


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
    record |= {'machine': '2 x NVIDIA H200', 'samples': samples}
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
    assert '2 x NVIDIA H200' in page and '0.1.0, git abc' in page
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


# Running a table


def test_commands_are_printed_in_order_and_shared_stages_once(
    table, monkeypatch, capsys
):
    monkeypatch.chdir(table.parent)
    command = ['t', '--tables', 'tables.yml', '--print', '--gpus', '8']
    run_table.main(command)
    lines = capsys.readouterr().out.splitlines()
    tuned, tools = 'work_dirs/tune_from_a', os.path.relpath(ROOT / 'tools')
    train, test = (
        shlex.join(['bash', f'{tools}/dist_{task}.sh'])
        for task in ('train', 'test')
    )
    init = 'model.backbone.init_cfg.checkpoint=work_dirs/a/epoch_2.pth'
    assert lines[2:8] == [
        '# train a, after "train stage1"',
        f'{train} a.py 8 --work-dir work_dirs/a --resume',
        '# train tune_from_a, after "train a"',
        f'{train} tune.py 8 --work-dir {tuned} --resume --cfg-options {init}',
        '# test tune_from_a, after "train tune_from_a"',
        f'{test} tune.py {tuned}/epoch_2.pth 8 --work-dir '
        f'{tuned} --out {tuned}/epoch_2.json --cfg-options {init}',
    ]
    assert lines[8] == '# train b, after "train stage1"' and len(lines) == 14


# Write what is there at the end of a training and of a test.
SCRIPT = """
import pathlib, shutil, sys
open('calls.txt', 'a').write(sys.argv[1][:-3] + ' ')
work = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
if work.name == pathlib.Path('broken.txt').read_text():
    sys.exit(3)
if '--resume' in sys.argv:
    work.mkdir(parents=True, exist_ok=True)
    shutil.copy('whole.pth', work / 'epoch_2.pth')
else:
    (work / 'epoch_2.json').write_text('{}')
"""


def test_what_failed_or_is_out_of_date_is_run_again(
    table, monkeypatch, capsys
):
    monkeypatch.chdir(table.parent)
    Path('tools').mkdir()
    torch.save({}, 'whole.pth')
    for name in ('train', 'test'):
        Path(f'tools/{name}.py').write_text(SCRIPT)
    monkeypatch.setattr(run_table, 'TOOLS', table.with_name('tools'))

    def calls(broken: str = '') -> tuple[str, str]:
        Path('calls.txt').write_text('')
        Path('broken.txt').write_text(broken)
        code = run_table.main(['t', '--tables', 'tables.yml'])
        assert code == (1 if broken else 0)
        return Path('calls.txt').read_text(), capsys.readouterr().out

    called, out = calls(broken='a')
    assert called == 'stage1 a b tune tune '
    why = 'train a ended with exit code 3, see the log in work_dirs/a'
    assert out.endswith(f'a: FAILED, {why}\nb: done\n')
    called, out = calls()
    assert called == 'a tune tune ' and out.endswith('a: done\nb: done\n')
    assert calls()[0] == ''
    # The last checkpoint is cut off.
    Path('work_dirs/b/epoch_2.pth').write_bytes(
        Path('whole.pth').read_bytes()[:100]
    )
    # A checkpoint that is newer than its test.
    os.utime('work_dirs/tune_from_a/epoch_2.json', (1, 1))
    assert calls()[0] == 'tune b '


def test_mistakes_end_with_one_line(capsys):
    with pytest.raises(SystemExit):
        run_table.main(['7f', '--rows', '0.3'])
    assert "'0.3'}: choose ['0.5 ViT-B" in capsys.readouterr().err


def _toy(folder: Path, photos: Path) -> None:
    """Table 5's "BIMM-V" on 8 photographs, narrow and for one epoch."""
    for name, path in {
        'stage1': 'bimm/pretrain_ventral_in1k.py',
        'tune': 'downstream/imagenet/finetune_bimm_v_in1k.py',
    }.items():
        cfg = Config.fromfile(CONFIGS / path)
        shrink_model(cfg.model)
        shrink_sizes(cfg._cfg_dict)
        for node in nested_dicts(cfg._cfg_dict):
            if node.get('type') == 'ImageNet':
                node.pop('split')
                node.update(type='CustomDataset', indices=[*range(-4, 4)])
                node.update(data_root=str(photos / 'val'))
            small = dict(
                **dict(batch_size=4, num_workers=0, num_classes=2, topk=(1,)),
                **dict(persistent_workers=False, in_channels=WIDTH),
            )
            node.update({k: v for k, v in small.items() if k in node})
        cfg.optim_wrapper.type = 'OptimWrapper'
        cfg.optim_wrapper.pop('dtype')
        cfg.param_scheduler, cfg.train_cfg.max_epochs = None, 1
        cfg.dump(folder / f'{name}.py')
    row = {'name': 'IN-1K', 'rows': '{method: x, pretrain: stage1}'}
    (folder / 'tables.yml').write_text(TABLE % row)


@pytest.mark.slow
def test_a_table_at_toy_size_runs_to_the_page(
    data_root, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv('BIMM_CONTOURS', 'sobel')
    monkeypatch.chdir(tmp_path)
    _toy(tmp_path, data_root / 'image_mini' / 'hymenoptera')
    toy = ['--tables', 'tables.yml']
    assert run_table.main(['t', *toy]) == 0
    capsys.readouterr()
    assert run_table.main(['t', *toy]) == 0
    assert capsys.readouterr().out.count('done before') == 3
    assert leaderboard.main(['work_dirs', *toy]) == 0
    out = capsys.readouterr().out
    assert '1 result(s) in tables, 0 of other runs, 0 rejected' in out
    page = Path('leaderboard/leaderboard.html').read_text()
    assert 'Table t: T' in page
    assert 'tools/train.py stage1.py --work-dir work_dirs/stage1' in page
    checkpoint = Path('work_dirs/tune_from_stage1/epoch_1.pth').read_bytes()
    assert hashlib.sha256(checkpoint).hexdigest() in page
    # It stands in no row of the paper.
    leaderboard.main(['work_dirs'])
    out = capsys.readouterr().out
    assert '0 result(s) in tables, 1 of other runs, 0 rejected' in out
    page = Path('leaderboard/leaderboard.html').read_text()
    assert 'Nearest row: BIMM-V ViT-B IN-1K 800 of table 5, IN-1K' in page
    # Without its log it is no result.
    (log,) = Path('work_dirs/stage1').glob('*/*.log')
    log.unlink()
    leaderboard.main(['work_dirs', *toy])
    out = capsys.readouterr().out
    assert '0 result(s) in tables, 0 of other runs, 1 rejected' in out
