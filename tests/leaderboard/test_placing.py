"""Which results stand in a row, beside it, or nowhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bimm_mm.leaderboard import (
    OURS,
    PAPER,
    Board,
    Refused,
    gather,
    page,
    place,
    read_tables,
    to_html,
    to_markdown,
)
from bimm_mm.leaderboard.compare import parse_config


@pytest.fixture(scope='module')
def files():
    return [read_tables(PAPER), read_tables(OURS)]


def _board(folder: Path, files) -> Board:
    return place(gather([folder]), files)


def _cells(board: Board) -> list[tuple[str, str]]:
    return [(table, row) for _, table, row, _ in board.cells]


def test_a_run_with_the_configs_of_a_row_stands_in_it(
    finetuned, files, tmp_path
):
    finetuned()
    board = _board(tmp_path, files)
    assert not (board.others or board.refused)
    assert _cells(board) == [('7f', '0.5 ViT-B IN-1K+UCF101 800')]


@pytest.mark.parametrize(
    'options',
    [
        {'work_dir': 'elsewhere', 'launcher': 'slurm'},
        {'train_dataloader.batch_size': 4, 'randomness.seed': 7},
        {'train_dataloader.num_workers': 1, 'test_dataloader.batch_size': 2},
        {'test_dataloader.dataset.ann_file': '/data/list.txt'},
        {'model.backbone.init_cfg.checkpoint': '/data/joint.pth'},
        {'model.backbone.with_cp': True, 'default_hooks.logger.interval': 1},
    ],
)
def test_paths_batch_workers_launcher_and_seed_do_not_count(
    finetuned, files, tmp_path, options
):
    finetuned(**options)
    assert len(_board(tmp_path, files).cells) == 1


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'train_cfg.max_epochs': 2}, 'train_cfg.max_epochs: 2 instead'),
        (
            {'model.backbone.drop_path_rate': 0.0},
            'model.backbone.drop_path_rate: 0.0 instead of 0.2',
        ),
        (
            {'optim_wrapper.optimizer.lr': 1e-3},
            'optim_wrapper.optimizer.lr: 0.001 instead of 0.0005',
        ),
        (
            {'test_dataloader.dataset.pipeline.0.transforms.1.num_clips': 1},
            'test: test_dataloader.dataset.pipeline.0.transforms.1.num_clips',
        ),
        ({'load_from': 'other.pth'}, 'load_from: other.pth instead'),
    ],
)
def test_anything_else_puts_it_among_other_runs(
    finetuned, files, tmp_path, options, words
):
    finetuned(**options)
    board = _board(tmp_path, files)
    assert not board.cells
    (other,) = board.others
    assert other.nearest == '0.5 ViT-B IN-1K+UCF101 800 of table 7f, UCF101'
    assert any(words in line for line in other.differences)
    text = to_markdown(page(board, {}))
    assert '## Other runs' in text
    assert '| 0.5 | 91.7 | not run |' in text


def _few_test_videos(record):
    record['samples'] = 36


def _few_training_videos(record):
    record['checkpoint']['training']['samples'] = 84


def _few_images(record):
    joint = record['checkpoint']['training']['start']
    joint['training']['start']['training']['samples'] = 1000


def _early(record):
    record['checkpoint']['epoch'] = 60


def _no_first_stage(record):
    joint = record['checkpoint']['training']['start']
    joint['training']['start'] = None


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (_few_test_videos, 'test: 36 samples instead of 3783'),
        (_few_training_videos, 'finetune: 84 samples instead of 9537'),
        (_few_images, 'ventral: 1000 samples instead of 1281167'),
        (_early, 'finetune: checkpoint of epoch 60 instead of 100'),
        (_no_first_stage, 'ventral_checkpoint: (a path) instead of None'),
    ],
)
def test_small_data_and_unfinished_runs_stand_in_no_row(
    finetuned, files, tmp_path, change, words
):
    finetuned(change)
    board = _board(tmp_path, files)
    assert not board.cells
    lines = [line for other in board.others for line in other.differences]
    assert any(words in line for line in lines), lines


def _no_config(record):
    record['checkpoint']['config'] = None


def _code_for_a_config(record):
    record['config'] = '__import__("os").remove("x")'


def _no_training(record):
    record['checkpoint']['training'] = None


def _no_log(record):
    record['log'] = 'gone.log'


def _no_training_log(record):
    Path(record['checkpoint']['training']['logs'][0]).unlink()


def _no_revision(record):
    del record['revision']


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (_no_config, 'has no config'),
        (_code_for_a_config, 'more than assignments'),
        (_no_training, 'was not recorded'),
        (_no_log, 'no log .*gone.log'),
        (_no_training_log, r'no log .*20260101_000000\.log'),
        (_no_revision, 'lacks revision'),
    ],
)
def test_without_config_and_log_it_is_refused(
    finetuned, files, tmp_path, change, words
):
    path = finetuned(change)
    board = _board(tmp_path, files)
    assert not (board.cells or board.others)
    (refused,) = board.refused
    assert isinstance(refused, Refused) and refused.path == path
    assert re.search(words, refused.reason)
    assert refused.reason in to_html(page(board, {}), 'x').replace(
        '&#x27;', "'"
    )


def test_a_file_that_is_no_record_is_refused(finetuned, files, tmp_path):
    finetuned().write_text('{"metrics": ')
    (refused,) = _board(tmp_path, files).refused
    assert 'cannot be read' in refused.reason


def test_a_resumed_training_stands_in_its_row(finetuned, files, tmp_path):
    def resume(record):
        config = parse_config(record['checkpoint']['config'])
        config['resume'] = True
        del config['model']['backbone']['init_cfg']
        lines = [f'{key} = {value!r}\n' for key, value in config.items()]
        record['checkpoint']['config'] = ''.join(lines)

    finetuned(resume)
    board = _board(tmp_path, files)
    assert not board.others, board.others[0].differences
    assert len(board.cells) == 1


def test_of_two_runs_the_latest_is_shown_and_both_are_listed(
    finetuned, files, tmp_path
):
    finetuned(top1=0.95)
    finetuned(
        lambda record: record.update(time='20260103_000000'),
        top1=0.905,
        name='again',
    )
    text = to_markdown(page(_board(tmp_path, files), {}))
    assert '| **0.5** | **91.7** | **90.5** | **-1.2** | **1, 2** |' in text
    for number in (1, 2):
        assert f'Commands of run {number}:' in text


def test_a_page_shows_what_stands_behind_a_figure(finetuned, files, tmp_path):
    finetuned()
    blocks = page(_board(tmp_path, files), {})
    text, page_html = to_markdown(blocks), to_html(blocks, 'title')
    for part in (
        *('ab' * 8, '0.1.0, git abc', '8 x GPU, torch 2.11.0', '3:01:00'),
        *('20260101_000000.log', 'python tools/train.py joint'),
        'python tools/test.py finetune_ucf101.py',
    ):
        assert part in text
        assert part.replace('\\', '') in page_html
    assert '<link' not in page_html and 'src=' not in page_html


def test_texts_are_escaped(finetuned, files, tmp_path):
    def attack(record):
        record['revision'] = '<script>alert(1)</script> | x'

    finetuned(attack)
    blocks = page(_board(tmp_path, files), {})
    assert '<script' not in to_html(blocks, '<script>')
    assert '\\<script>' in to_markdown(blocks)
    assert ' \\| x' in to_markdown(blocks)


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no folder .*nowhere'):
        list(gather([tmp_path / 'nowhere']))


def test_record_keeps_metrics_that_are_no_numbers(finetuned, files, tmp_path):
    def nothing(record):
        record['metrics']['acc/top1'] = None

    path = finetuned(nothing)
    assert json.loads(path.read_text())['metrics']['acc/top1'] is None
    text = to_markdown(page(_board(tmp_path, files), {}))
    assert '| **0.5** | **91.7** | **not run** |' in text
