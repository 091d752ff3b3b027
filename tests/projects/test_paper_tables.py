"""The paper's tables: rows and configs, and which results enter them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import init_default_scope

from bimm_mm.models.checkpoints.load import load_pretrained
from bimm_mm.registry import MODELS
from projects.paper_tables import leaderboard, run_table
from projects.paper_tables.match import Leaderboard, match
from projects.paper_tables.provenance import gather, parse_config
from projects.paper_tables.tables import PAPER, flatten, read_tables
from tests.toy_configs import (
    WIDTH,
    nested_dicts,
    shrink_model,
    shrink_sizes,
)

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
TABLES = {table.name: table for table in read_tables().tables}
ROWS = [(table, row) for table in TABLES.values() for row in table.rows]
# Typed off the paper by hand: rows per table; BIMM's figures, and all of 7.
COUNTS = {
    **{'1': 16, '2': 21, '3': 7, '4': 9, '5': 9, '6': 7, '10': 16},
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
}
# Methods of ours and baselines.
METHODS = {
    *('BIMM', 'BIMM-V', 'VideoMAE', 'MotionMAE', 'MAE-ST', 'OmniMAE'),
    *('MAE', 'MaskFeat', 'DeepMIM', 'LocalMIM'),
}


# The rows and their configs


def test_the_figures_are_the_papers():
    assert {name: len(TABLES[name].rows) for name in COUNTS} == COUNTS
    for name, figures in FIGURES.items():
        rows = TABLES[name].rows
        if name[0] != '7':
            rows = [r for r in rows if r.texts['method'].startswith('BIMM')]
        assert [v for r in rows for v in r.values.values()] == figures


def test_rows_of_our_methods_and_baselines_have_configs():
    for table, row in ROWS:
        method = row.texts['method'].rstrip('*')
        vit = row.texts.get('backbone', '').startswith('ViT-')
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
        if row.stages and 'epochs' in row.texts:
            cfg = Config.fromfile(row.stages[-1])
            epochs = cfg.train_cfg.max_epochs * cfg.get('repeats', 1)
            if (table.name, row.texts['epochs']) != ('5', '800+1600'):
                assert str(epochs) == row.texts['epochs'], row.name
            model = cfg.model.get('dorsal', cfg.model)
            size = {'base': 'ViT-B', 'large': 'ViT-L'}[model.backbone.arch]
            assert row.texts.get('backbone', size) == size, row.name


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


def _table(benchmark: str, key: str, size: int, rows: list[str]) -> dict:
    """A file of tables, whose rows are named like their configs."""
    sizes = {'train': size, 'test': size, 'finetune': {'ViT-B': 'tune'}}
    table = {
        **{'name': 't', 'title': 'T', 'columns': {'Row': 'method'}},
        'metrics': [{'title': 'Acc', 'benchmark': benchmark, 'key': key}],
        'rows': [{'method': row, 'pretrain': row} for row in rows],
    }
    return {
        **{'title': 'Mine', 'toy': True, 'configs': '.'},
        **{'benchmarks': {benchmark: sizes}, 'tables': [table]},
    }


@pytest.fixture
def content(tmp_path) -> dict:
    """Two rows that share a stage."""
    start = "model = dict(ventral_checkpoint='work_dirs/stage1/epoch_2.pth')\n"
    encoder = "backbone=dict(init_cfg=dict(type='P', checkpoint='x/y.pth'))"
    texts = {'stage1': 'model = dict()\n', 'a': start, 'b': start}
    texts['tune'] = f'model = dict({encoder})\n'
    for name, text in texts.items():
        path = tmp_path / f'{name}.py'
        path.write_text(f'{text}train_cfg = dict(max_epochs=2)\n')
    return _table('UCF101', 'acc', 6, ['a', 'b'])


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'pretrain': 'c'}, r'row a: there is no config .*c\.py'),
        ({'backbone': 'ViT-L'}, r"row a: 'ViT-L' is unknown, choose ViT-B"),
        ({'values': [1.0]}, 'none in a file of toy size'),
        ({'valeus': [1.0]}, "row a: .* 'valeus'"),
        ({'method': 'b'}, "'b' stands twice"),
    ],
)
def test_mistakes_in_a_table_are_named(content, tmp_path, change, words):
    path = tmp_path / 'tables.yml'
    path.write_text(yaml.safe_dump(content))
    assert len(read_tables(path).tables[0].rows[0].stages) == 2
    content['tables'][0]['rows'][0].update(change)
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=words):
        read_tables(path)


# Which results enter


def _leave(
    folder: Path, cfg: Config, task: str, samples: int, *said: str
) -> None:
    """Write what MMEngine and our tools leave of a call."""
    (folder / 'vis_data').mkdir(parents=True)
    config = ''.join(f'{k} = {v!r}\n' for k, v in cfg.to_dict().items())
    (folder / 'vis_data' / 'config.py').write_text(config)
    command, revision = f'python tools/{task}.py x', '0.1.0, git abc'
    record = dict(command=command, revision=revision, samples=samples)
    lines = [
        *('    GPU 0,1: NVIDIA H200', '    PyTorch: 2.11.0'),
        '    GPU number: 2',
        '2026/01/01 00:00:01 - mmengine - INFO - '
        f'provenance: {json.dumps({"task": task, **record})}',
        *said,
        '2026/01/01 01:00:01 - mmengine - INFO - end',
    ]
    log = folder / f'{folder.name}.log'
    log.write_text('\n'.join(lines) + '\n')


@pytest.fixture
def finetuned(tmp_path) -> Callable[..., Path]:
    """Leave three trainings and the test of '0.5' of Table 7f."""

    def write(
        name: str = 'finetune', top1: Any = 0.9, samples=(), **options: Any
    ) -> Path:
        counts = {'v': 1_281_167, 'j': 9537, 'f': 9537, 't': 3783}
        counts.update(samples)
        stages = {
            'ventral': 'bimm/pretrain_ventral_in1k.py',
            'joint': 'ablations/ablation_mask_50.py',
            name: 'downstream/ucf101/finetune_ucf101.py',
        }
        for day, (stage, path) in enumerate(stages.items(), 1):
            cfg = Config.fromfile(CONFIGS / path)
            if stage == 'joint':
                cfg.model.ventral_checkpoint = 'x/ventral/epoch_800.pth'
            if stage == name:
                cfg.model.backbone.init_cfg.checkpoint = (
                    'x/joint/epoch_800.pth'
                )
                cfg.merge_from_dict(options)
            folder = tmp_path / stage / f'2026010{day}_000000'
            last = 100 if stage == name else 800
            count = counts['f' if stage == name else stage[0]]
            if not folder.exists():
                saved = f'Saving checkpoint at {last} epochs'
                _leave(folder, cfg, 'train', count, saved)
        cfg.load_from = f'work_dirs/{name}/epoch_100.pth'
        folder = tmp_path / name / '20260104_000000'
        _leave(folder, cfg, 'test', counts['t'])
        path = folder / f'{folder.name}.json'
        path.write_text(json.dumps({'acc/top1': top1, 'acc/top5': 0.99}))
        return path

    return write


def _board(folder: Path) -> Leaderboard:
    return match(gather([folder]), [read_tables()])


def _names(board: Leaderboard) -> list[tuple[str, ...]]:
    return [key[1:] for key in board.matched]


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
    board = _board(tmp_path)
    assert _names(board) == [HALF]
    assert not (board.unmatched or board.rejected)
    figures = board.figures().query('table == "7f"').set_index('row')
    ours = figures.loc[HALF[1]]
    assert (ours['paper'], ours['ours']) == (91.7, 90.0)
    assert ours['difference'] == pytest.approx(-1.7)
    assert figures['ours'].notna().sum() == 1


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'train_cfg.max_epochs': 2}, 'train_cfg.max_epochs: 2 instead'),
        ({'model.backbone.drop_path_rate': 0.0}, '0.0 instead of 0.2'),
        ({'model.backbone.init_cfg.type': 'x'}, 'init_cfg.type: x instead'),
        (
            {'test_dataloader.dataset.pipeline.0.transforms.1.num_clips': 1},
            'test: test_dataloader.dataset.pipeline.0.transforms.1.num_clips',
        ),
        ({'samples': {'t': 36}}, 'test: 36 samples instead of 3783'),
        ({'samples': {'f': 84}}, 'finetune: 84 samples instead of 9537'),
        ({'samples': {'v': 1000}}, 'ventral: 1000 samples instead of'),
    ],
)
def test_a_toy_or_changed_run_stands_in_no_row(
    finetuned, tmp_path, options, words
):
    finetuned(**options)
    board = _board(tmp_path)
    assert not board.matched
    (other,) = board.unmatched
    assert other.nearest == f'{HALF[1]} of table 7f, UCF101'
    assert any(words in line for line in other.differences), other.differences
    page = leaderboard.render(board)
    assert 'Other runs' in page and '<table>' not in page


def test_a_training_stands_in_its_row_once_it_was_resumed_to_the_end(
    finetuned, tmp_path
):
    first = finetuned().parents[1] / '20260103_000000'
    log = first / f'{first.name}.log'
    log.write_text(log.read_text().replace('at 100 epochs', 'at 60 epochs'))
    (other,) = _board(tmp_path).unmatched
    assert other.differences == ['finetune: it ended at epoch 60 of 100']
    cfg = Config.fromfile(CONFIGS / 'downstream/ucf101/finetune_ucf101.py')
    cfg.resume = True
    cfg.model.backbone.pop('init_cfg')
    said = ('resumed epoch: 60, iter: 1', 'Saving checkpoint at 100 epochs')
    second = first.with_name('20260103_120000')
    _leave(second, cfg, 'train', 9537, *said)
    board = _board(tmp_path)
    assert _names(board) == [HALF]
    shutil.rmtree(first)
    (rejected,) = _board(tmp_path).rejected
    assert 'the beginning of' in rejected.reason


def test_of_two_results_the_latest_is_shown_and_both_listed(
    finetuned, tmp_path
):
    finetuned(top1=0.95)
    path = finetuned(name='again', top1=0.905)
    later = path.parent.with_name('20260109_000000')
    path.parent.rename(later)
    for old in later.glob('20260104*'):
        old.rename(later / f'{later.name}{old.suffix}')
    board = _board(tmp_path)
    assert len(board.matched[(str(PAPER), *HALF)]) == 2
    page = leaderboard.render(board)
    cells = re.findall(r'<td[^>]*>([^<]*)</td>', page)
    start = cells.index('0.5')
    assert cells[start : start + 5] == ['0.5', '91.7', '90.5', '-1.2', '1, 2']
    for part in ('2 x NVIDIA H200, PyTorch 2.11.0', '0.1.0, git abc'):
        assert part in page
    assert page.count('python tools/test.py x') == 2


DAMAGE = {
    'no metrics': ('json', lambda text: '[]'),
    'not JSON': ('json', lambda text: '{"acc/top1": '),
    'deep': ('json', lambda text: '[' * 100_000),
    'text': ('json', lambda text: text.replace('0.9,', '"high",')),
    'nothing': ('json', lambda text: text.replace('0.9,', 'NaN,')),
    'nested': ('json', lambda text: text.replace('0.9,', '{"a": 1},')),
    '9000 %': ('json', lambda text: text.replace('0.9,', '90.0,')),
    'huge': ('json', lambda text: text.replace('0.9,', f'{10**400},')),
    'code': ('config.py', lambda text: '__import__("os").remove("x")'),
    'call': ('config.py', lambda text: 'a = dict(b=open("x"))'),
    'star': ('config.py', lambda text: 'a = dict(**dict(b=1))'),
    'brackets': ('config.py', lambda text: f'a = {"(" * 300}'),
    'sum': ('config.py', lambda text: f'a = 1{"+1" * 100_000}'),
    'zero byte': ('config.py', lambda text: 'a = 1\0'),
    'no provenance': ('log', lambda text: text.replace('provenance', 'x')),
    'a list': ('log', lambda text: text.replace('3783', '[3783]')),
    'no config': ('config.py', None),
    'no log': ('log', None),
}


def test_damaged_results_are_rejected_and_the_page_is_written(
    finetuned, tmp_path
):
    finetuned()
    for name, (ending, change) in DAMAGE.items():
        files = finetuned(name=name).parent.rglob('*.*')
        (path,) = [file for file in files if file.name.endswith(ending)]
        if change is None:
            path.unlink()
        else:
            path.write_text(change(path.read_text()))
    board = _board(tmp_path)
    assert _names(board) == [HALF] and not board.unmatched
    assert {r.path.parts[-3] for r in board.rejected} == set(DAMAGE)
    page = leaderboard.render(board)
    assert all(f'/{name}/' in page for name in DAMAGE)


def test_hostile_names_and_texts_are_escaped(finetuned, tmp_path, capsys):
    evil = '<script>alert(1)<!--'
    work_dirs = tmp_path / 'work'
    for number, options in enumerate(({}, {'train_cfg.max_epochs': 2}, {})):
        path = finetuned(name=f'{evil}{number}', **options)
        log = path.with_suffix('.log')
        text = log.read_text().replace('tools/test.py', f'</pre>{evil}')
        log.write_text(text if number else text.replace('3783', '[]'))
    for folder in list(tmp_path.iterdir()):
        shutil.move(folder, work_dirs / folder.name)
    command = [str(work_dirs), '--out', str(tmp_path / 'page')]
    assert leaderboard.main(command) == 0
    out = capsys.readouterr().out
    assert '1 result(s) in tables, 1 of other runs, 1 rejected' in out
    page = (tmp_path / 'page' / 'leaderboard.html').read_text()
    assert evil[:8] not in page and page.count('&lt;script&gt;') > 5
    lines = pd.read_csv(tmp_path / 'page' / 'leaderboard.csv')
    assert lines['ours'].notna().sum() == 1


@pytest.mark.parametrize(
    'name', ['ucf101/finetune_ucf101', 'coco/finetune_coco']
)
def test_what_mmengine_dumps_is_read(name):
    cfg = Config.fromfile(CONFIGS / 'downstream' / f'{name}.py')
    assert flatten(parse_config(cfg.pretty_text)) == flatten(cfg.to_dict())


# Running a table


# Write what MMEngine writes at the end of a training and of a test.
SCRIPT = """
import json, pathlib, sys, time
open('calls.txt', 'a').write(' '.join(sys.argv[1:]) + '\\n')
config, argument = sys.argv[1], sys.argv.index('--work-dir') + 1
work = pathlib.Path(sys.argv[argument])
if pathlib.Path(config).stem in pathlib.Path('broken.txt').read_text():
    sys.exit(3)
if '--resume' in sys.argv:
    work.mkdir(parents=True, exist_ok=True)
    (work / 'epoch_2.pth').write_text(config)
    (work / 'last_checkpoint').write_text(str(work / 'epoch_2.pth'))
else:
    folder = work / time.strftime('%Y%m%d_%H%M%S')
    (folder / 'vis_data').mkdir(parents=True, exist_ok=True)
    text = f'load_from = {sys.argv[2]!r}'
    (folder / 'vis_data' / 'config.py').write_text(text)
    record = dict(task='test', command='', revision='', samples=1)
    text = f' - provenance: {json.dumps(record)}'
    (folder / f'{folder.name}.log').write_text(text)
    (folder / f'{folder.name}.json').write_text('{}')
"""


@pytest.fixture
def run(content, tmp_path, monkeypatch) -> Callable[..., int]:
    """Run the two rows with scripts that finish at once."""
    (tmp_path / 'tables.yml').write_text(yaml.safe_dump(content))
    (tmp_path / 'broken.txt').write_text('')
    (tmp_path / 'tools').mkdir()
    for name in ('train', 'test'):
        (tmp_path / 'tools' / f'{name}.py').write_text(SCRIPT)
    monkeypatch.setattr(run_table, 'TOOLS', tmp_path / 'tools')
    monkeypatch.chdir(tmp_path)
    return lambda *more: run_table.main(['t', '--tables=tables.yml', *more])


def _calls() -> list[str]:
    """The calls since this was last asked."""
    path = Path('calls.txt')
    calls = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return calls


def test_stages_run_in_order_shared_ones_once_and_nothing_twice(run, capsys):
    assert run() == 0
    calls = _calls()
    assert [call.split('.py')[0] for call in calls] == [
        *('stage1', 'a', 'tune', 'tune', 'b', 'tune', 'tune')
    ]
    assert calls[1] == 'a.py --work-dir work_dirs/a --resume'
    init = 'model.backbone.init_cfg.checkpoint=work_dirs/a/epoch_2.pth'
    work_dir = '--work-dir work_dirs/tune_from_a'
    assert calls[2] == f'tune.py {work_dir} --resume --cfg-options {init}'
    tested = 'tune.py work_dirs/tune_from_a/epoch_2.pth'
    assert calls[3] == f'{tested} {work_dir} --cfg-options {init}'
    assert capsys.readouterr().out.endswith('a: done\nb: done\n')
    assert run() == 0
    assert _calls() == []
    # A kill while the last checkpoint was written: it is not yet named.
    Path('work_dirs/b/last_checkpoint').write_text('work_dirs/b/epoch_1.pth')
    # A checkpoint that is newer than its test.
    os.utime('work_dirs/tune_from_a/epoch_2.pth', (2e9, 2e9))
    run()
    assert [call.split()[0] for call in _calls()] == ['tune.py', 'b.py']


def test_a_failing_row_does_not_stop_the_others(run, capsys):
    Path('broken.txt').write_text('a')
    assert run() == 1
    assert [call.split('.py')[0] for call in _calls()] == [
        *('stage1', 'a', 'b', 'tune', 'tune')
    ]
    out = capsys.readouterr().out
    assert 'a: FAILED, exit code 3, see the log in work_dirs/a' in out
    assert out.endswith('\nb: done\n')


def test_commands_can_be_printed(run, capsys):
    assert run('--print', '--gpus', '8', '--work-dirs', '/big/w') == 0
    assert _calls() == []
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        '# train stage1',
        'bash tools/dist_train.sh stage1.py 8 --work-dir /big/w/stage1 '
        '--resume',
        '# train a, after "train stage1"',
    ]
    tested = '/big/w/tune_from_a/epoch_2.pth 8 --work-dir /big/w/tune_from_a'
    assert lines[7].startswith(f'bash tools/dist_test.sh tune.py {tested} ')


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['7f', '--rows', '0.3'], 'called "0.3": choose "0.5 ViT-B'),
        (['u'], 'there is no table u: choose 1, 2'),
        ([], 'name a table'),
    ],
)
def test_mistakes_end_with_one_line(capsys, arguments, words):
    with pytest.raises(SystemExit) as stopped:
        run_table.parse_args(arguments)
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


def test_a_whole_name_goes_before_a_part():
    rows = run_table.select(TABLES['7f'], ['0.9'])
    assert [row.texts['method'] for row in rows] == ['0.9']


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
    content = _table('IN-1K', 'accuracy/top1', 8, ['stage1'])
    (folder / 'tables.yml').write_text(yaml.safe_dump(content))


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
    assert 'Table t, toy size: T' in page
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
