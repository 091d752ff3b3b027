"""The paper's tables: rows and their configs, and running them."""

from __future__ import annotations

import copy
import hashlib
import os
import re
import shlex
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from bimm_mm.apis.config import load_config
from bimm_mm.models.checkpoints.load import load_pretrained
from bimm_mm.registry import MODELS
from bimm_mm.utils.config_parts import dicts
from docs.hooks import paper_rows
from projects.paper_tables import leaderboard, run_table
from projects.paper_tables.tables import read_tables
from tests.processes import call_script
from tests.toy_configs import WIDTH, shrink_model, shrink_sizes

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
FILE = read_tables()
# Rows share many; to be left as they are.
read_once = cache(Config.fromfile)
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
    *('MAE', 'MaskFeat', 'DeepMIM', 'LocalMIM', 'MAM2', 'BeiT', 'SimMIM'),
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
            cfg = read_once(row.stages[-1])
            epochs = cfg.train_cfg.max_epochs * cfg.get('repeats', 1)
            if (table.name, row.epochs) != ('5', '800+1600'):
                assert str(epochs) == row.epochs, row.name
            model = cfg.model.get('dorsal', cfg.model)
            size = {'base': 'ViT-B', 'large': 'ViT-L'}[model.backbone.arch]
            assert row.backbone in ('', size), row.name


def test_the_documents_name_every_config():
    pages = [ROOT / 'docs/reproduce.md', CONFIGS / 'ablations/README.md']
    text = ''.join(page.read_text(encoding='utf-8') for page in pages)
    text += paper_rows()
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
    cfg = copy.deepcopy(read_once(finetuning))
    cfg.merge_from_dict(dict(options))
    init_default_scope(cfg.default_scope)
    encoder = tiny(cfg.model.backbone)
    model = read_once(pretraining).model
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
    why = 'train a ended with exit code 3: what it said is above'
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
    assert 'configs is 0.3. Choose of 0.5 ViT-B' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run_table.main(['5', '--rows', 'PeCo'])
    assert '; PeCo: its tokenizer is not public' in capsys.readouterr().err


def _toy(folder: Path, photos: Path) -> None:
    """Table 5's "BIMM-V" on 8 photographs, narrow and for one epoch."""
    for name, path in {
        'stage1': 'bimm/pretrain_ventral_in1k.py',
        'tune': 'downstream/imagenet/finetune_bimm_v_in1k.py',
    }.items():
        sobel = dict(contours='sobel') if name == 'stage1' else {}
        cfg = load_config(CONFIGS / path, sobel)
        shrink_model(cfg.model)
        shrink_sizes(cfg._cfg_dict)
        for node in dicts(cfg._cfg_dict):
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
        cfg.total_batch_size = 4
        cfg.dump(folder / f'{name}.py')
    row = {'name': 'IN-1K', 'rows': '{method: x, pretrain: stage1}'}
    (folder / 'tables.yml').write_text(TABLE % row)


@pytest.mark.slow
def test_a_table_at_toy_size_runs_to_the_page(
    data_root, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)

    def here(command: list[str], **_: Any) -> SimpleNamespace:
        call_script(tmp_path, Path(command[1]).name, *command[2:])
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(run_table, 'subprocess', SimpleNamespace(run=here))
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
    assert 'stage1.py --work-dir work_dirs/stage1' in page
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
