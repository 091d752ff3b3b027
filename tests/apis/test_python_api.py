"""Every line of docs/python_api.md runs, on toys.

But for ONNX, pictures and exports from a shell, which have tests
of their own.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import torch
from mmengine.config import Config

from bimm_mm.apis.feature_file import read_features
from tests.apis.conftest import write_checkpoint

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'docs' / 'python_api.md').read_text(encoding='utf-8')


def test_the_page_runs_from_top_to_bottom(
    run, cfg, image_config, folder, data_root, tmp_path, monkeypatch, bimm
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, 'work_dirs/pretrain_joint')
    shutil.copytree(folder / 'videos', 'videos')
    shutil.copy(next(iter(sorted(folder.rglob('*.mp4')))), 'clip.mp4')
    photos = data_root / 'image_mini' / 'hymenoptera' / 'val'
    shutil.copy(next(photos.rglob('*.jpg')), 'photo.jpg')
    Path('work_dirs/finetune').mkdir()
    names = dict(dataset_meta=dict(classes=list('abcdef')))
    image_config.test_dataloader = image_config.val_dataloader
    for config, path, meta in (
        (cfg, Path('work_dirs/finetune/epoch_2.pth'), names),
        (image_config, Path('photos.pth'), {}),
    ):
        config.model.backbone.init_cfg = None
        write_checkpoint(path, config, **meta)
        name = 'config.py' if meta else 'photos.py'
        config.dump(path.with_name(name))
    scope: dict = {}
    for block in re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL):
        code = block.replace("'encoder.onnx'", "'again.safetensors'")
        exec(compile(code, 'docs/python_api.md', 'exec'), scope)
    assert scope['features'].shape == (24,)
    assert scope['rows'].shape == (5, 24)
    assert scope['tokens'].shape == (2, 2, 9, 24)
    assert scope['logits'].requires_grad
    backbone = scope['backbone']
    trained = {k for k, p in backbone.named_parameters() if p.requires_grad}
    assert not any(k.startswith(('blocks.0', 'patch_em')) for k in trained)
    # LoRA moved nothing yet: its second matrix starts at zero.
    encoder = scope['encoder'].eval()
    with torch.no_grad():
        torch.testing.assert_close(
            encoder(scope['x'])[0].cpu(), scope['features']
        )
    assert len(scope['scores']) == 6 and scope['label'] in (0, 1)
    assert isinstance(scope['config'], Config)
    assert {*scope['table'].property} == {'hue'}
    for name in ('again.safetensors', 'encoder.pt2', 'out/dorsal_0.mp4'):
        assert Path(name).is_file()
    (block,) = re.findall(r'```bash\n(.*?)```', PAGE, re.DOTALL)
    line, *_ = block.splitlines()
    bimm(*line.split()[1:])
    assert len(read_features('features.npz')) == 5
