"""Records of runs that nobody ran, with the configs of a real row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
MACHINE = {'device': 'GPU', 'processes': 8, 'torch': '2.11.0'}


def _text(cfg: Config) -> str:
    """As MMEngine's dump, without its slow layout."""
    values = cfg.to_dict().items()
    return ''.join(f'{key} = {value!r}\n' for key, value in values)


def _checkpoint(
    name: str, cfg: Config, samples: int, start: dict | None, folder: Path
) -> dict[str, Any]:
    log = folder / name / '20260101_000000' / '20260101_000000.log'
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text('trained')
    last = cfg.train_cfg.max_epochs
    return {
        'path': str(folder / name / f'epoch_{last}.pth'),
        'sha256': 'ab' * 32,
        'config': _text(cfg),
        'epoch': last,
        'iter': 1000,
        'training': {
            'wall_time_s': 3600.0,
            'commands': [f'python tools/train.py {name}'],
            'revisions': ['0.1.0, git abc'],
            'hardware': [MACHINE],
            'logs': [str(log)],
            'samples': samples,
            'init_cfg': cfg.model.get('backbone', {}).get('init_cfg'),
            'start': start,
        },
    }


@pytest.fixture
def finetuned(tmp_path) -> Callable[..., Path]:
    """Write the record of '0.5' of Table 7f, after ``change`` of it."""

    def write(
        change: Callable[[dict], None] = lambda record: None,
        *,
        top1: float = 0.9,
        name: str = 'finetune',
        **options: Any,
    ) -> Path:
        stages = [
            ('ventral', 'bimm/pretrain_ventral_in1k.py', 1_281_167),
            ('joint', 'ablations/ablation_mask_50.py', 9537),
            (name, 'downstream/ucf101/finetune_ucf101.py', 9537),
        ]
        checkpoint = None
        for stage, path, samples in stages:
            cfg = Config.fromfile(ROOT / 'configs' / path)
            if stage == name:
                cfg.merge_from_dict(options)
            checkpoint = _checkpoint(stage, cfg, samples, checkpoint, tmp_path)
        folder = tmp_path / name / '20260102_000000'
        folder.mkdir(parents=True)
        (folder / 'test.log').write_text('tested')
        record = {
            'time': '20260102_000000',
            'command': 'python tools/test.py finetune_ucf101.py',
            'config': _text(cfg),
            'revision': '0.1.0, git abc',
            'hardware': MACHINE,
            'log': 'test.log',
            'metrics': {'acc/top1': top1, 'acc/top5': 0.99},
            'samples': 3783,
            'wall_time_s': 60.0,
            'checkpoint': checkpoint,
        }
        change(record)
        path = folder / 'result.json'
        path.write_text(json.dumps(record))
        return path

    return write
