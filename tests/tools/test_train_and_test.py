"""tools/train.py and tools/test.py: flags and one clear error each."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from bimm_mm.apis.config import load_config
from bimm_mm.apis.curves import read_scalars
from bimm_mm.apis.inference import init_model
from bimm_mm.apis.launch import resume_command

ROOT = Path(__file__).resolve().parents[2]
JOINT = str(ROOT / 'configs' / 'quickstart' / 'pretrain_joint.py')
VENTRAL = str(ROOT / 'configs' / 'quickstart' / 'pretrain_ventral.py')
VIDEOMAE = str(ROOT / 'configs/baselines/pretrain_videomae_k400.py')
K400 = str(ROOT / 'configs' / 'bimm' / 'pretrain_joint_k400.py')
WITH_TEST = f"""
_base_ = {VENTRAL!r}
test_dataloader = _base_.val_dataloader
test_cfg = dict()
test_evaluator = _base_.val_evaluator
"""
# The toy, smaller still.
TINY = (
    'model.backbone.arch.embed_dims=48',
    'model.backbone.arch.depth=6',
    'train_dataloader.batch_size=2',
    'train_dataloader.dataset.dataset.times=1',
    'train_cfg.max_epochs=1',
    'default_hooks.logger.interval=1',
    'param_scheduler=None',
)


@pytest.fixture
def mistake(call_tool, capsys) -> Callable[..., str]:
    """The one line with which a tool ends."""

    def call(name: str, *arguments: str) -> str:
        with pytest.raises(SystemExit) as exit_code:
            call_tool(name, *arguments)
        assert exit_code.value.code == 2
        _, _, said = capsys.readouterr().err.rpartition(f'{name}.py: error: ')
        assert said.count('\n') == 1
        return said

    return call


PATHS = dict(JOINT=JOINT, VENTRAL=VENTRAL, VIDEOMAE=VIDEOMAE, K400=K400)
# A command, of which words in capitals stand for paths, and what it says.
MISTAKES = {
    'train nowhere.py': 'no config file nowhere.py',
    'train JOINT --resume gone.pth': 'no checkpoint at gone.pth',
    'train JOINT --cfg-options train_dataloder.a=2': "mean 'train_dataloader'",
    'train JOINT --auto-scale-lr': 'base_batch_size',
    'train VIDEOMAE --contours sobel': 'no area of this model predicts cont',
    'train VIDEOMAE --amp --cfg-options train_cfg.max_epochs=9': (
        'goes from 0 to 40 epochs, and the run has 9'
    ),
    'train JOINT --log-to wandb': 'pip install wandb',
    'train VENTRAL': (
        'work_dirs/quickstart/data/photos '
        '(train_dataloader.dataset.dataset.dataset.data_root)'
    ),
    'train K400': 'add --amp to train in bfloat16 on the CPU',
    'test JOINT a.pth': 'has no test_dataloader',
    'test JOINT a.pth --out a.txt': 'must end with .json',
    'test JOINT a --out /proc/no/a.pkl': 'give another --o',
    'test JOINT a --out FOLDER.json': 'is a folder: name a file in it',
}


@pytest.mark.parametrize(('command', 'words'), MISTAKES.items())
def test_mistakes_end_with_one_line(mistake, monkeypatch, command, words):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    # As where W&B is not installed.
    monkeypatch.setitem(sys.modules, 'wandb', None)
    Path('FOLDER.json').mkdir()
    assert words in mistake(*(PATHS.get(x, x) for x in command.split()))


RESIZE = 'train_dataloader.dataset.dataset.dataset.pipeline.2'
OPTIONS = {
    'model.areas.0.after_block=99': r"area 'V1': after_block=99 does not",
    'model.backbone.patch_size=7': r'patches of \(1, 7, 7\)',
    f'{RESIZE}.scale=(0,0)': 'error in Resize: ',
    'load_from=foreign.pth': r'foreign\.pth is of ano.*backbone\.init_cfg',
}


@pytest.mark.parametrize(('option', 'words'), OPTIONS.items())
def test_mistakes_in_a_part_name_its_key(
    mistake, monkeypatch, quickstart_data, tmp_path, option, words
):
    monkeypatch.chdir(quickstart_data)
    torch.save({'x': torch.ones(1)}, 'foreign.pth')
    # Where there is nothing to resume, load_from counts.
    flags = ('--resume', f'--work-dir={tmp_path}', '--cfg-options', *TINY)
    said = mistake('train', VENTRAL, *flags, option)
    assert re.search(words, said), said


def test_two_trainings_do_not_write_into_one_folder(
    mistake, monkeypatch, quickstart_data, tmp_path
):
    monkeypatch.chdir(quickstart_data)
    flags = (f'--work-dir={tmp_path}', '--cfg-options', *TINY)
    with FileLock(tmp_path / '.lock'):
        said = mistake('train', VENTRAL, *flags)
    assert f'another command writes into {tmp_path}: wait' in said


def test_dry_run_does_one_update_and_leaves_nothing(
    call_tool, capsys, monkeypatch, quickstart_data
):
    monkeypatch.chdir(quickstart_data)
    before = sorted(Path().rglob('*'))
    # Every step is saved, and not in the work directory.
    saved = ('out_dir=elsewhere', 'by_epoch=False', 'interval=1')
    options = (
        *TINY,
        'optim_wrapper.accumulative_counts=2',
        *(f'default_hooks.checkpoint.{option}' for option in saved),
    )
    call_tool('train', VENTRAL, '--dry-run', '--cfg-options', *options)
    assert sorted(Path().rglob('*')) == before
    said = capsys.readouterr().out
    # A step is an update, here of two batches.
    assert 'Epoch(train) [1][1/2]' in said
    assert 'Epoch(train) [1][2/2]' not in said
    for line in (
        r'training set +8 samples',
        r'total batch +4 = 1 process\(es\) x 2 per process x 2 accumulated',
        r'steps +2 an epoch, 2 in all',
        r'validation +2 samples, measured with V1/mse, .*V4/ratio',
    ):
        assert re.search(line, said), line


def test_compile_is_a_flag(monkeypatch, quickstart_data):
    monkeypatch.chdir(quickstart_data)
    monkeypatch.setattr(sys, 'argv', ['train.py', VENTRAL, '--compile'])
    tool = runpy.run_path(str(ROOT / 'tools/train.py'))
    assert tool['read_config'](tool['parse_args']()).compile is True


def test_a_terminal_shows_areas_live_and_quiet_runs_say_the_end(
    call_tool, capsys, monkeypatch, quickstart_data
):
    monkeypatch.chdir(quickstart_data)
    monkeypatch.setenv('TTY_COMPATIBLE', '1')
    monkeypatch.setenv('TTY_INTERACTIVE', '1')
    for flags, name in ([], 'live'), (['--quiet'], 'quiet'):
        call_tool(
            'train', VENTRAL, '--work-dir', name, *flags,
            '--log-to', 'tensorboard', '--cfg-options', *TINY,
        )  # fmt: skip
        said = re.sub(r'\x1b\[\S*?[a-zA-Z]', '', capsys.readouterr().out)
        assert said.splitlines()[-1].startswith('finished: 4 steps')
        # TensorBoard's beside the local log.
        assert read_scalars(name)['loss_V4']
        assert len([*Path(name).glob('*/vis_data/events.*')]) == 1
        log = next(Path(name).glob('*/*.log')).read_text()
        assert 'Epoch(train)' in log and 'Epoch(train)' not in said
        if flags:
            assert 'INFO' not in said and 'training' not in said
            continue
        assert re.search('training, epoch 1/1 .*4/4', said)
        # Long lines above it are not broken.
        assert f'will be saved to {Path(name).absolute()}.' in said
        assert 'validation / that of the mean' in said
        mse, mean = (
            float(re.findall(rf'V4/{key}: (\S+)', log)[-1])
            for key in ('mse', 'mean_mse')
        )
        shown = re.findall(r'V4 +(\S+) +(\S+)', said)[-1]
        assert float(shown[1]) == pytest.approx(mse / mean, abs=2e-3)
        loss = re.findall(r'loss_V4: (\S+)', log)[-1]
        assert shown[0] == loss


def test_the_command_that_goes_on_takes_the_newest_checkpoint(
    load_tool, monkeypatch
):
    monkeypatch.setattr(sys, 'argv', ['train.py', 'a b.py', '--resume=c.pth'])
    python, *arguments = shlex.split(resume_command('none'))
    assert python == 'python'
    monkeypatch.setattr(sys, 'argv', arguments)
    args = load_tool('train').parse_args()
    assert (args.config, args.resume) == ('a b.py', 'auto')
    for typed in ('train.py --resume', 'train.py --resume auto'):
        monkeypatch.setattr(sys, 'argv', typed.split())
        assert resume_command('none') == 'python train.py --resume auto'


def test_joint_stage_without_the_first_says_what_to_do(
    mistake, call_tool, monkeypatch, quickstart_data
):
    monkeypatch.chdir(quickstart_data)
    assert re.search('pretrain_ventral.*train', mistake('train', JOINT))
    with pytest.raises(FileNotFoundError):
        call_tool('train', JOINT, '--debug')


def test_a_folder_without_logs_is_told_before_anything_is_drawn(
    call_tool, tmp_path
):
    (tmp_path / 'logs').mkdir()
    curves = ('--out', 'pictures', '--curves', 'logs')
    with pytest.raises(SystemExit, match=r'visualize.*logs has no log of'):
        call_tool('visualize', VENTRAL, 'gone.pth', *curves)


def test_a_checkpoint_of_another_model_is_not_tested(
    mistake, monkeypatch, quickstart_data
):
    monkeypatch.chdir(quickstart_data)
    Path('config.py').write_text(WITH_TEST)
    state = init_model(load_config(VENTRAL)).state_dict()
    state.popitem()
    torch.save(dict(state_dict=state), 'other.pth')
    said = mistake('test', 'config.py', 'other.pth', '--out', 'other.json')
    assert said.startswith('other.pth does not')
    assert not Path('other.json').exists()


def test_train_with_amp_then_test_then_draw(
    call_tool, mistake, monkeypatch, tmp_path, quickstart_data, capsys
):
    """Without contour files; what the run has, later commands take from it."""
    home = Path('work_dirs/quickstart')
    monkeypatch.chdir(tmp_path)
    home.mkdir(parents=True)
    (home / 'data').symlink_to(quickstart_data / home / 'data')
    options = ('--work-dir', 'tiny', '--amp', '--cfg-options', *TINY)
    assert '--contours sobel' in mistake('train', VENTRAL, *options)
    call_tool('train', VENTRAL, '--contours', 'sobel', *options)
    log = next(Path('tiny').glob('*/*.log')).read_text()
    assert log.count('total batch size 2 = 1 process(es) x 2') == 1
    assert 'bimm_mm.CPUAmpOptimWrapper' in log
    # Config and environment are in the log file alone.
    said = capsys.readouterr().out.splitlines()
    assert len(said) < 20 and len(log.splitlines()) > 300
    assert 'Epoch(train)' in '\n'.join(said)
    assert 'FileClient' not in log
    assert re.match(r'finished: 4 steps, loss \d.*epoch_1\.pth', said[-1])

    Path('with_test.py').write_text(WITH_TEST)
    call_tool(
        'test', 'with_test.py', 'tiny/epoch_1.pth', '--out', 'result.json',
        '--cfg-options', *TINY[:2],
    )  # fmt: skip
    result = json.loads(Path('result.json').read_text())
    assert set(result) == {
        f'{area}/{key}'
        for area in ('V1', 'V2', 'V4')
        for key in ('mse', 'mean_mse', 'ratio')
    }
    assert all(0 < value < 100 for value in result.values())

    call_tool(
        'visualize', VENTRAL, 'tiny/epoch_1.pth', '--out=pictures',
        '--num=2', '--curves=tiny', '--cfg-options', *TINY[:2],
    )  # fmt: skip
    names = [path.name for path in Path('pictures').iterdir()]
    assert sorted(names) == ['curves.png', 'image.png']
    options = (*options, 'load_from=foreign.pth')
    call_tool('train', VENTRAL, '--resume', *options, 'train_cfg.max_epochs=2')
