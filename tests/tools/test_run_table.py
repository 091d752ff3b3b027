"""tools/run_table.py: order, resumption, failures; with stand-in scripts."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

from bimm_mm.leaderboard import steps as steps_module

JOINT = "model = dict(ventral_checkpoint='x.pth')\n"
TUNED = (
    "model = dict(backbone=dict(init_cfg=dict(type='Pretrained', "
    "checkpoint='x.pth')))\n"
)
# Writes what MMEngine writes at the end of a training.
TRAIN = """
import pathlib, sys
open('calls.txt', 'a').write(' '.join(sys.argv[1:]) + '\\n')
config, work = sys.argv[1], pathlib.Path(sys.argv[3])
if pathlib.Path(config).stem in pathlib.Path('broken.txt').read_text():
    sys.exit(3)
work.mkdir(parents=True)
(work / 'epoch_2.pth').write_text(config)
(work / 'last_checkpoint').write_text(str(work / 'epoch_2.pth'))
"""
TEST = """
import hashlib, json, pathlib, sys
open('calls.txt', 'a').write('test ' + ' '.join(sys.argv[1:]) + '\\n')
checkpoint, folder = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[4])
digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
(folder / '1').mkdir()
record = {'checkpoint': {'sha256': digest}}
(folder / '1' / 'result.json').write_text(json.dumps(record))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Two rows that share stage 1, and scripts that finish at once."""
    for name in ('stage1', 'a', 'b', 'tune'):
        text = {'stage1': 'model = dict()\n', 'tune': TUNED}.get(name, JOINT)
        path = tmp_path / f'{name}.py'
        path.write_text(f'{text}train_cfg = dict(max_epochs=2)\n')
    rows = [
        {'method': name, 'pretrain': name, 'finetune': {'UCF101': 'tune'}}
        for name in ('a', 'b')
    ]
    content = {
        'title': 'Mine',
        'toy': True,
        'benchmarks': {'UCF101': {'train': 1, 'test': 1}},
        'pretrainings': {n: ['stage1.py', f'{n}.py'] for n in ('a', 'b')},
        'finetunings': {'tune': {'config': 'tune.py'}},
        'tables': [
            {
                'name': 't',
                'title': 'T',
                'columns': {'Row': 'method'},
                'metrics': [
                    {'title': 'Acc', 'benchmark': 'UCF101', 'key': 'acc'}
                ],
                'rows': rows,
            }
        ],
    }
    (tmp_path / 'tables.yml').write_text(yaml.safe_dump(content))
    (tmp_path / 'broken.txt').write_text('')
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools' / 'train.py').write_text(TRAIN)
    (tmp_path / 'tools' / 'test.py').write_text(TEST)
    monkeypatch.setattr(steps_module, 'TOOLS', tmp_path / 'tools')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder, load_tool):
    """Run the tool on these rows; returns its exit code."""
    tool = load_tool('run_table')
    return lambda *args: tool.main(['t', '--tables', 'tables.yml', *args])


def _calls(folder: Path) -> list[str]:
    path = folder / 'calls.txt'
    return path.read_text().splitlines() if path.exists() else []


def _trained(folder: Path) -> list[str]:
    return [Path(call.split()[0]).stem for call in _calls(folder)]


def test_stages_run_in_order_and_shared_ones_once(folder, run, capsys):
    assert run() == 0
    row = ['tune', 'test']
    assert _trained(folder) == ['stage1', 'a', *row, 'b', *row]
    calls = _calls(folder)
    stage1 = 'work_dirs/stage1/epoch_2.pth'
    assert calls[1].endswith(f'model.ventral_checkpoint={stage1}')
    assert all('--resume' in call for call in calls if call[:4] != 'test')
    assert calls[2].endswith(
        'model.backbone.init_cfg.checkpoint=work_dirs/a/epoch_2.pth'
    )
    assert calls[3] == (
        'test tune.py work_dirs/tune_from_a/epoch_2.pth --work-dir '
        'work_dirs/tune_from_a'
    )
    assert 'a: done\nb: done\n' in capsys.readouterr().out


def test_what_is_done_is_not_run_again(folder, run, capsys):
    assert run() == 0
    (folder / 'calls.txt').unlink()
    assert run() == 0
    assert _calls(folder) == []
    assert capsys.readouterr().out.count('done before') == 7


def test_a_cut_checkpoint_is_not_taken_for_a_result(folder, run):
    assert run() == 0
    (folder / 'calls.txt').unlink()
    work = folder / 'work_dirs' / 'b'
    # A kill while the last checkpoint was written: it is not yet named.
    (work / 'last_checkpoint').write_text('work_dirs/b/epoch_1.pth')
    (folder / 'tools' / 'train.py').write_text(
        TRAIN.replace('mkdir(parents=True)', 'mkdir(exist_ok=True)')
    )
    assert run() == 0
    assert _trained(folder) == ['b']


def test_a_new_checkpoint_is_tested_again(folder, run):
    assert run('--rows', 'a') == 0
    (folder / 'calls.txt').unlink()
    (folder / 'work_dirs/tune_from_a/epoch_2.pth').write_text('other')
    (folder / 'tools' / 'test.py').write_text(TEST.replace("'1'", "'2'"))
    assert run('--rows', 'a') == 0
    assert _trained(folder) == ['test']


def test_a_failing_row_does_not_stop_the_others(folder, run, capsys):
    (folder / 'broken.txt').write_text('a')
    assert run() == 1
    assert _trained(folder) == ['stage1', 'a', 'b', 'tune', 'test']
    out = capsys.readouterr().out
    assert 'a: FAILED, train a: exit code 3, see the log in work_dirs/a' in out
    assert '\nb: done' in out
    (folder / 'broken.txt').write_text('')
    (folder / 'calls.txt').unlink()
    assert run() == 0
    assert _trained(folder) == ['a', 'tune', 'test']


def test_commands_can_be_printed(folder, run, capsys):
    assert run('--print', '--gpus', '8', '--work-dirs', '/big/w') == 0
    assert _calls(folder) == []
    lines = capsys.readouterr().out.splitlines()
    commands = [shlex.split(line) for line in lines if line[0] != '#']
    assert len(commands) == 7
    assert commands[0] == [
        *('bash', 'tools/dist_train.sh', 'stage1.py', '8'),
        *('--work-dir', '/big/w/stage1', '--resume'),
    ]
    assert commands[3][:5] == [
        *('bash', 'tools/dist_test.sh', 'tune.py'),
        *('/big/w/tune_from_a/epoch_2.pth', '8'),
    ]
    assert '# train a, after "train stage1"' in lines


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['t', '--rows', 'c'], 'called "c": choose "a", "b"'),
        (['u'], 'there is no table u: choose t'),
        ([], 'name a table'),
    ],
)
def test_mistakes_end_with_one_line(
    folder, load_tool, capsys, arguments, words
):
    with pytest.raises(SystemExit) as exit_code:
        load_tool('run_table').main([*arguments, '--tables', 'tables.yml'])
    assert exit_code.value.code == 2
    assert words in capsys.readouterr().err


def test_the_papers_tables_can_be_listed(load_tool, capsys):
    assert load_tool('run_table').main(['--list']) == 0
    out = capsys.readouterr().out
    for name in ('1', '2', '3', '4', '5', '6', '7a', '7f', '10', 'contours'):
        assert f'\n{name}: ' in f'\n{out}'
    assert '    0.95 ViT-B IN-1K+UCF101 800\n' in out


def test_a_whole_name_goes_before_a_part(load_tool, capsys, tmp_path):
    tool = load_tool('run_table')
    arguments = ['7f', '--rows', '0.9', '--print', '--work-dirs']
    assert tool.main([*arguments, str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert 'ablation_default' in out and 'ablation_mask' not in out
