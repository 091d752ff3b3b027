"""The commands of the quickstart fit each other and the tools."""

from __future__ import annotations

import re
import sys

from bimm_mm.apis.config import load_config
from tests.processes import ROOT

SCRIPT = (ROOT / 'tools' / 'quickstart.sh').read_text(encoding='utf-8')


def test_every_command_has_flags_of_its_tool(load_tool, monkeypatch):
    joined = SCRIPT.replace('\\\n', ' ')
    commands = re.findall(r'python tools/(\w+)\.py (.*)', joined)
    assert len(commands) == 5
    for name, words in commands[1:]:
        monkeypatch.setattr(sys, 'argv', [name, *words.split()])
        load_tool(name).parse_args()


def test_second_stage_starts_from_the_last_epoch_of_the_first():
    home = re.search(r'home=(.*)', SCRIPT)[1]
    ventral, joint = (
        load_config(ROOT / f'configs/quickstart/pretrain_{stage}.py')
        for stage in ('ventral', 'joint')
    )
    assert ventral.work_dir == f'{home}/pretrain_ventral'
    assert joint.work_dir == f'{home}/pretrain_joint'
    assert ventral.contour_root == joint.contour_root == f'{home}/contours'
    last = f'epoch_{ventral.train_cfg.max_epochs}.pth'
    assert joint.model.ventral_checkpoint == f'{ventral.work_dir}/{last}'
