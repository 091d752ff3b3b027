"""What a run leaves to its log file."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from torch import nn

from bimm_mm.apis.launch import build_runner
from bimm_mm.engine import StrictRunner
from bimm_mm.engine.hooks.console import spare_screen


def test_shared_layers_are_told_in_the_file_alone(tmp_path, capsys):
    path = tmp_path / 'log'
    logger = MMLogger.get_instance('shared', log_file=str(path))
    spare_screen(logger, quiet=False)
    shared = nn.LayerNorm(2)
    model = nn.Sequential(shared, nn.Sequential(shared))
    try:
        paramwise = dict(norm_decay_mult=0.0, bypass_duplicate=True)
        optimizer = dict(type='SGD', lr=0.1, weight_decay=0.1)
        build_optim_wrapper(
            model, dict(optimizer=optimizer, paramwise_cfg=paramwise)
        )
        logger.warning('for people')
    finally:
        MMLogger._instance_dict.pop('shared')
        for handler in logger.handlers:
            handler.close()
    said = capsys.readouterr()
    shown = (said.out + said.err).splitlines()
    assert len(shown) == 1 and shown[0].endswith('for people')
    assert '1.0 is duplicate' in path.read_text()


def test_a_full_log_ends_a_run_and_a_closed_screen_does_not(tmp_path, capsys):
    logger = MMLogger.get_instance('full', log_file=str(tmp_path / 'log'))
    spare_screen(logger, quiet=False)
    screen, file = logger.handlers
    full = open('/dev/full', 'w')  # noqa: SIM115  to close it fails, too
    try:
        screen.setStream(full)
        logger.warning('nobody looks')
        assert 'nobody looks' in (tmp_path / 'log').read_text()
        file.setStream(full)
        with pytest.raises(OSError, match='No space left'):
            logger.warning('nobody reads')
    finally:
        MMLogger._instance_dict.pop('full')
        with suppress(OSError):
            full.close()
    assert 'Traceback' not in capsys.readouterr().err


class Stop(Hook):
    """Presses Ctrl-C in the second step."""

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.iter == 1:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_display_ends_with_the_step_that_was_saved(
    make_runner, monkeypatch, capsys
):
    monkeypatch.setenv('TTY_INTERACTIVE', '1')
    monkeypatch.setenv('TTY_COMPATIBLE', '1')
    # What comes before in this process is forgotten, quiet or not.
    with pytest.raises(KeyError, match='work_dir'):
        build_runner(Config(dict(model={})), quiet=True)
    checkpoint = dict(type='bimm_mm.CheckpointHook', interval=1)
    runner = make_runner(
        runner=StrictRunner,
        hooks=[Stop()],
        default_hooks=dict(checkpoint=checkpoint),
    )
    with pytest.raises(SystemExit):
        runner.train()
    said = capsys.readouterr().out
    assert 'interrupted.pth after step 2' in ' '.join(said.split())
    assert '2/6' in said.split('training, epoch')[-1]
