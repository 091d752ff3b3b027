"""What a row pretrains fits what it finetunes: the encoder is handed over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from bimm_mm.leaderboard import OURS, PAPER, read_tables
from bimm_mm.models.checkpoints.pretrained import load_pretrained
from bimm_mm.registry import MODELS

DEPTHS = {'base': 12, 'large': 24}


def _pairs() -> dict[str, tuple[Path, Path, dict]]:
    """Every combination of pretraining and finetuning that a row names."""
    pairs = {}
    for file in (PAPER, OURS):
        for table in read_tables(file).tables:
            for row in table.rows:
                for tuned in row.finetune.values():
                    name = f'{row.pretrain[-1].stem} {tuned.config.stem}'
                    options = dict(tuned.options)
                    pairs[name] = (row.pretrain[-1], tuned.config, options)
    return pairs


PAIRS = _pairs()


def _tiny(backbone: dict) -> dict:
    """The same encoder, narrow and for small pictures."""
    arch = dict(embed_dims=16, depth=DEPTHS[backbone['arch']], num_heads=2)
    return dict(backbone, arch=arch)


def _pretrained(config: Path, video: bool) -> tuple[str, dict]:
    """Keys as in the checkpoint of a pretraining; weights are random."""
    model = Config.fromfile(config).model
    joint = 'dorsal' in model
    branch = ('dorsal.' if video else 'ventral.') if joint else ''
    part = model[branch[:-1]] if joint else model
    encoder = MODELS.build(_tiny(part.backbone))
    torch.manual_seed(0)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter)
    state = encoder.state_dict()
    return branch, {f'{branch}backbone.{k}': v for k, v in state.items()}


@pytest.mark.parametrize('name', PAIRS)
def test_encoder_is_handed_over(name, tmp_path):
    pretraining, finetuning, options = PAIRS[name]
    cfg = Config.fromfile(finetuning)
    cfg.merge_from_dict(options)
    init_default_scope(cfg.default_scope)
    backbone = dict(cfg.model.backbone)
    backbone.pop('init_cfg')
    encoder = MODELS.build(_tiny(backbone))
    branch, state = _pretrained(pretraining, encoder.video)
    torch.save({'state_dict': state}, tmp_path / 'epoch_1.pth')
    load_pretrained(encoder, str(tmp_path / 'epoch_1.pth'))
    loaded = encoder.state_dict()
    equal = [
        torch.equal(value, state[f'{branch}backbone.{key}'])
        for key, value in loaded.items()
        if f'{branch}backbone.{key}' in state
    ]
    assert all(equal) and len(equal) == len(loaded)
