"""What a run leaves to its log file."""

from __future__ import annotations

from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from torch import nn

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
