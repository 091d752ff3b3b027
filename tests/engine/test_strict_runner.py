"""A run that is stopped goes on as if it had not been, or says why not."""

from __future__ import annotations

import os
import re
import shutil
import signal
import struct
import time
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import torch
from mmengine.hooks import Hook

from bimm_mm.engine import newest_checkpoint
from tests.engine import strict_run
from tests.engine.strict_run import build
from tests.processes import (
    Started,
    ordinary_rights,
    small_disk,
    wait_until,
)


def run(folder: Path, **options) -> str:
    """Train in this process; what was trained."""
    return strict_run.run(folder, options)


def start(folder: Path, *, ranks: int = 1, **options) -> Started:
    """Train in another process, or in two."""
    log = folder.parent / 'said.txt'
    return Started(strict_run.run, folder, options, log=log, ranks=ranks)


def wait_for_step(folder: Path, step: int) -> None:
    """Until so many steps were trained."""
    path = folder / 'losses.txt'
    wait_until(lambda: path.exists() and path.read_text().count('\n') >= step)


class Fail(Hook):
    """An error in training."""

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        assert signal.getsignal(signal.SIGINT).__self__ in runner.hooks
        raise RuntimeError('in the middle')


class Late(Hook):
    """Ctrl-C after the last step, when there is nothing left to save."""

    priority = 'VERY_HIGH'

    def after_train(self, runner) -> None:
        os.kill(os.getpid(), signal.SIGINT)


class FailInValidation(Hook):
    """A run that ends in a validation, as if it were killed."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_val_iter(self, runner, *args, **kwargs) -> None:
        if runner.iter == self.step:
            raise RuntimeError('in a validation')


def start_of_data(path: Path) -> int:
    """Where the bytes of the first tensor begin in a file of torch.save."""
    with ZipFile(path) as archive:
        names = [i for i in archive.infolist() if '/data/' in i.filename]
        header = names[0].header_offset
    # Behind the fixed part of the header, a name and an extra field.
    lengths = struct.unpack_from('<HH', path.read_bytes(), header + 26)
    return header + 30 + sum(lengths)


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory) -> str:
    """Every step's loss and rate of a run that nothing stopped."""
    return run(tmp_path_factory.mktemp('whole') / 'run')


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_signal_saves_within_the_epoch_and_resume_goes_on(
    tmp_path, uninterrupted, number
):
    folder = tmp_path / 'run'
    process = start(folder, pause=0.1, workers=2)
    wait_for_step(folder, 17)
    process.signal(number)
    assert process.wait() == [128 + number]
    said = process.said
    step = int(re.search(r'saved .*interrupted.pth after step (\d+)', said)[1])
    assert 17 <= step < 24, said
    assert run(folder, resume=True, workers=2) == uninterrupted
    # It has served its purpose.
    assert not (folder / 'interrupted.pth').exists()


def test_processes_of_others_end_as_always(tmp_path):
    process = start(tmp_path / 'run', fork=True, epochs=1)
    process.wait()
    said = process.said
    assert f'a forked process ended with {-signal.SIGTERM}' in said
    assert 'a forked process has signals as always: True' in said


def test_persistent_workers_end_with_the_run(tmp_path):
    process = start(tmp_path / 'run', workers=2, persistent=True, epochs=1)
    assert process.wait() == [0]


def test_two_processes_save_and_go_on(tmp_path):
    whole, folder = tmp_path / 'whole', tmp_path / 'run'
    # Each process has statistics of its own; those of the first are saved.
    options = dict(ranks=2, workers=1, val=True, bn=True, batch=4)
    assert start(whole, **options).wait() == [0, 0]
    process = start(folder, **options, pause=0.2)
    wait_for_step(folder, 5)
    # Slurm signals every process, and torchrun passes on what it gets.
    for _ in range(2):
        process.signal(signal.SIGTERM)
    # The other is left without its partner, and ended by a launcher.
    assert process.wait()[0] == 128 + signal.SIGTERM
    assert 'SIGTERM: saved' in process.said
    assert start(folder, **options, resume=True).wait() == [0, 0]
    losses = (folder / 'losses.txt').read_text()
    assert losses == (whole / 'losses.txt').read_text()
    assert losses.count('\n') == 9 + 3


def test_another_number_of_processes_goes_on_within_the_epoch(tmp_path):
    whole, folder = tmp_path / 'whole', tmp_path / 'run'
    rates = run(whole, batch=4, noise=False)
    with pytest.raises(SystemExit):
        run(folder, batch=4, noise=False, signaled=8)
    options = dict(batch=2, noise=False, signaled=14, resume=True)
    assert start(folder, ranks=2, **options).wait()[0] == 143
    found = run(folder, batch=4, noise=False, resume=True)
    # One process writes the loss of its half.
    assert re.sub(r' \S+ ', ' ', found) == re.sub(r' \S+ ', ' ', rates)
    ours, theirs = (torch.load(f / 'epoch_3.pth') for f in (folder, whole))
    torch.testing.assert_close(ours['state_dict'], theirs['state_dict'])


def test_killed_run_repeats_what_was_not_saved(tmp_path, uninterrupted):
    folder = tmp_path / 'run'
    process = start(folder, pause=0.1, workers=2)
    wait_for_step(folder, 17)
    process.signal(signal.SIGKILL)
    assert process.wait() == [-signal.SIGKILL]
    lines = run(folder, resume=True).splitlines(keepends=True)
    steps = {int(line.split()[0]): line for line in lines}
    assert ''.join(steps.values()) == uninterrupted
    # Those after the first epoch's checkpoint were trained twice, equally.
    assert len(lines) > len(steps)
    assert set(lines) == set(steps.values())


@pytest.mark.parametrize('seed', [None, 5])
def test_a_resumed_run_keeps_its_seed(tmp_path, uninterrupted, seed):
    with pytest.raises(SystemExit):
        run(tmp_path, signaled=8)
    assert run(tmp_path, resume=True, seed=seed) == uninterrupted


@pytest.mark.parametrize('options', [dict(batch=4), dict(accumulate=4)])
def test_other_total_batch_lays_the_schedule_out_anew(
    tmp_path, caplog, options
):
    folder = tmp_path / 'run'
    run(folder, epochs=3, stop=1)
    wanted = run(tmp_path / 'other', **options).splitlines()
    (folder / 'losses.txt').unlink()
    runner = build(folder, resume=True, **options)
    with caplog.at_level('WARNING', runner.logger.name):
        runner.logger.addHandler(caplog.handler)
        runner.train()
    # MMEngine's word on a rest that is lost; here none is.
    assert 'not divisible' not in caplog.text
    lines = (folder / 'losses.txt').read_text().splitlines()
    # Steps and rates are those of a run that had this batch all along.
    assert [re.sub(r' \S+ ', ' ', line) for line in lines] == [
        re.sub(r' \S+ ', ' ', line) for line in wanted[-len(lines) :]
    ]
    assert len(lines) == len(wanted) * 2 // 3


def test_iterations_of_another_total_batch_are_not_guessed(tmp_path):
    with pytest.raises(SystemExit):
        run(tmp_path, by_iter=True, accumulate=4, signaled=13)
    for batch, words in (
        (dict(), r'with 2 samples .* 36 with 8, .* 52 of .*max_iters=144'),
        (dict(batch=16), r'with 16 sam.* 36 with 8, .* 6 of .*max_iters=18'),
    ):
        with pytest.raises(ValueError, match=f'max_iters=36 {words}'):
            run(tmp_path, by_iter=True, resume=True, **batch)
    lines = run(tmp_path, by_iter=True, resume=True, batch=16, length=18)
    # The rest of the samples, 13 of 36 steps of 8 having been trained.
    assert [line.split()[0] for line in lines.splitlines()[13:]] == [
        str(step) for step in range(6, 18)
    ]


def test_resuming_needs_no_pretrained_weights(tmp_path, monkeypatch):
    folder = tmp_path / 'run'
    run(folder, stop=1)
    monkeypatch.setattr(strict_run, 'PRETRAINED', tmp_path / 'gone.pth')
    assert run(folder, resume=True).count('\n') == 36
    with pytest.raises(FileNotFoundError, match='gone'):
        run(tmp_path / 'other')


def test_signals_are_given_back_after_an_error(tmp_path):
    run(tmp_path, epochs=1)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    runner = build(tmp_path)
    runner.register_hook(Fail())
    with pytest.raises(RuntimeError, match='in the middle'):
        runner.train()
    after = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert after == before


def test_ctrl_c_after_the_last_step_ends_what_comes_next(tmp_path):
    runner = build(tmp_path, epochs=1)
    runner.register_hook(Late())
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert (tmp_path / 'epoch_1.pth').is_file()


def test_another_run_or_model_is_told_with_both_values(tmp_path):
    run(tmp_path, epochs=1)
    for options, words in (
        (dict(samples=26), r'is of .*size of the training set was 24 and is'),
        (dict(images='b'), r'is of .*sample 0 .* a/0\.png .* and is b/0\.png'),
        (dict(optimizer='SGD'), r'is of .*the optimizer was AdamW and is SGD'),
        (dict(width=4), r'does not fit .*linear\.weight'),
    ):
        with pytest.raises(ValueError, match=rf'epoch_1\.pth {words}'):
            run(tmp_path, resume=True, **options)


def test_another_rate_is_taken_and_said(tmp_path, capsys):
    run(tmp_path, stop=1)
    (tmp_path / 'losses.txt').unlink()
    other = dict(lr=0.2, weight=0.5)
    rates = [
        x.split()[2]
        for x in run(tmp_path, resume=True, **other).split('\n')[:-1]
    ]
    wanted = run(tmp_path / 'whole', lr=0.2).split('\n')[12:-1]
    assert rates == [line.split()[2] for line in wanted]
    said = ' '.join(''.join(capsys.readouterr()).split())
    assert 'initial_lr of group 0 was 0.1 and is 0.2' in said
    assert 'model.areas.0.weight of the config was 1.0 and is 0.5' in said


@pytest.mark.parametrize('by_iter', [False, True])
def test_a_run_killed_in_a_validation_begins_with_it(tmp_path, by_iter):
    workers = dict(workers=1, persistent=by_iter)
    options = dict(val=True, by_iter=by_iter, **workers)
    wanted = run(tmp_path / 'whole', **options)
    folder = tmp_path / 'run'
    for step in (12, 36):  # the last one as well
        runner = build(folder, resume=True, **options)
        runner.register_hook(FailInValidation(step))
        with pytest.raises(RuntimeError, match='in a validation'):
            runner.train()
    assert run(folder, resume=True, **options) == wanted
    # A validation that was done is not repeated if the checkpoint knows.
    (best,) = folder.glob('best_size_*.pth')
    (theirs,) = (tmp_path / 'whole').glob('best_size_*.pth')
    assert best.name == theirs.name


def test_averaged_weights_go_on(tmp_path):
    whole, folder = tmp_path / 'whole', tmp_path / 'run'
    run(whole, ema=True)
    run(folder, ema=True, stop=1)
    run(folder, ema=True, resume=True)
    ours, theirs = (torch.load(f / 'epoch_3.pth') for f in (folder, whole))
    for part in ('state_dict', 'ema_state_dict'):
        torch.testing.assert_close(ours[part], theirs[part], rtol=0, atol=0)


@pytest.mark.parametrize('damage', ['cut', 'flip', 'empty', 'text'])
def test_damaged_checkpoint_is_passed_over_for_the_one_before(
    tmp_path, uninterrupted, damage
):
    folder = tmp_path / 'run'
    run(folder, keep=2, epochs=3, stop=2)
    path = folder / 'epoch_2.pth'
    content = bytearray(path.read_bytes())
    place = start_of_data(path)
    path.unlink()
    if damage == 'cut':
        path.write_bytes(content[: len(content) // 2])
    elif damage == 'flip':
        content[place] ^= 1  # one bit of a weight
        path.write_bytes(content)
    else:
        path.write_bytes(b'' if damage == 'empty' else b'<html>')
    (folder / 'losses.txt').unlink()
    lines = run(folder, resume=True).splitlines()
    assert lines == uninterrupted.splitlines()[12:]


def test_no_room_for_a_checkpoint_leaves_the_one_before(tmp_path):
    options = dict(width=50_000, val=True, epochs=2)
    run(tmp_path, stop=1, **options)
    before = sorted(path.name for path in tmp_path.iterdir())
    with small_disk(400_000), pytest.raises(OSError, match=r'epoch_2\.pth'):
        run(tmp_path, resume=True, **options)
    after = {path.name for path in tmp_path.glob('*.pth')}
    assert after == {name for name in before if name.endswith('.pth')}
    assert newest_checkpoint(tmp_path) == str(tmp_path / 'epoch_1.pth')


def test_checkpoints_elsewhere_are_resumed(tmp_path, uninterrupted):
    folder, elsewhere = tmp_path / 'run', str(tmp_path / 'elsewhere')
    run(folder, stop=1, out_dir=elsewhere)
    assert not [*folder.glob('*.pth')]
    assert run(folder, resume=True, out_dir=elsewhere) == uninterrupted


def change(path: Path, to: Path | None = None, **parts: Any) -> None:
    """Write a checkpoint anew, with other parts; those of None taken out."""
    content = torch.load(path)
    for key, value in parts.items():
        whole = content if key in content else content['meta']
        whole.pop(key, None) if value is None else whole.update({key: value})
    torch.save(content, to or path)


def test_weights_alone_are_not_resumed(tmp_path, capsys):
    assert newest_checkpoint(tmp_path) is None
    assert not capsys.readouterr().out
    run(tmp_path, epochs=1, resume=True)
    assert 'STARTS ANEW' not in ''.join(capsys.readouterr())
    path = tmp_path / 'epoch_1.pth'
    best, other = tmp_path / 'best.pth', tmp_path / 'mae.pth'
    change(path, best, optimizer=None)
    torch.save(dict(model=torch.load(path)['state_dict'], optimizer={}), other)
    for weights in (best, other):
        words = rf'{weights.name} has no optimizer state, or .*load_from'
        with pytest.raises(ValueError, match=words):
            run(tmp_path, resume=True, load_from=str(weights))
        path.unlink(missing_ok=True)
        assert newest_checkpoint(tmp_path) is None
        assert 'TRAINING STARTS ANEW' in ''.join(capsys.readouterr())
        weights.unlink()


def test_a_clock_that_jumps_back_costs_no_epoch(tmp_path):
    run(tmp_path, epochs=2, keep=2)
    change(tmp_path / 'epoch_2.pth', time='20200101_000000')
    assert newest_checkpoint(tmp_path) == str(tmp_path / 'epoch_2.pth')


def test_the_newest_whole_one_is_taken(tmp_path):
    run(tmp_path, epochs=3)
    # An older run, of which there were more steps.
    change(tmp_path / 'epoch_3.pth', experiment_name='20200101_000000')
    run(tmp_path, stop=1)
    newest = tmp_path / 'epoch_1.pth'
    # What a kill left of a checkpoint is neither read nor kept.
    draft = tmp_path / '.123-0a1b2c3d_epoch_2.pth'
    draft.write_bytes(newest.read_bytes()[:1000])
    for text in (b'', b'/gone/epoch_9.pth', b'\xff\xfe'):
        (tmp_path / 'last_checkpoint').write_bytes(text)
        assert newest_checkpoint(tmp_path) == str(newest)
    run(tmp_path, resume=True)
    assert not draft.exists()


def test_a_file_that_may_not_be_read_is_no_reason_to_start_anew(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    path.touch(0)
    with ordinary_rights(), pytest.raises(PermissionError, match='epoch_1'):
        newest_checkpoint(tmp_path)


@pytest.mark.filterwarnings('error:.*pin_memory')  # nobody can act on it
def test_runs_of_one_second_share_no_log(tmp_path, monkeypatch):
    monkeypatch.setattr(time, 'time', lambda: 2e9)
    for name in 'ab':
        run(tmp_path / name, epochs=1)
        (log,) = (tmp_path / name).glob('*/*.log')
        assert log.read_text().count('Saving checkpoint at 1 epochs') == 1


def test_a_copied_run_runs_no_code_and_removes_nothing_of_the_first(tmp_path):
    first, copied = tmp_path / 'first', tmp_path / 'copied'
    run(first, val=True, stop=1)
    shutil.copytree(first, copied)
    path, evil = copied / 'epoch_1.pth', tmp_path / 'evil'
    hub = torch.load(path)['message_hub']
    hub['runtime_info']['best_score'] = -1.0
    change(path, message_hub=hub, config=f'open({str(evil)!r}, "w")')
    run(copied, val=True, resume=True)
    assert not evil.exists()
    assert (first / 'best_size_epoch_1.pth').exists()
    assert len(list(copied.glob('best_*.pth'))) == 1
