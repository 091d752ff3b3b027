"""A model from a config, its predictions and their pictures."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset

from bimm_mm import reconstruct
from bimm_mm.apis.config import load_config
from bimm_mm.apis.inference import init_model, load_batch
from bimm_mm.registry import DATASETS, TRANSFORMS
from bimm_mm.structures import ClipBatch
from tests.processes import ROOT

JOINT = ROOT / 'configs' / 'quickstart' / 'pretrain_joint.py'
AREAS = ['V1', 'V2', 'V4']


@pytest.fixture(scope='module')
def cfg() -> Config:
    """The toy, smaller still."""
    return load_config(
        JOINT,
        {
            'model.ventral.backbone.arch.embed_dims': 48,
            'model.dorsal.backbone.arch.embed_dims': 48,
            'model.ventral_checkpoint': None,
        },
    )


@pytest.fixture(scope='module')
def model(cfg: Config):
    torch.manual_seed(0)
    return init_model(cfg)


@pytest.fixture(scope='module')
def clips() -> ClipBatch:
    pixels = torch.rand(2, 3, 8, 64, 64, generator=torch.manual_seed(0))
    return ClipBatch(pixels - 0.5, pixels, contour=pixels[:, :1])


def test_every_area_answers_with_masks_of_the_seed(model, clips):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    outputs = reconstruct(model, clips, seed=1)
    # The caller's random numbers are not touched.
    assert torch.rand(3).equal(expected)
    assert list(outputs) == [
        *(f'ventral_{area}' for area in AREAS),
        *(f'dorsal_{area}' for area in ('V1', 'V2', 'MT')),
    ]
    again = reconstruct(model, clips, seed=1)
    other = reconstruct(model, clips, seed=2)
    for name, output in outputs.items():
        assert not output.prediction.requires_grad
        assert output.prediction.equal(again[name].prediction)
        assert not output.scored.equal(other[name].scored)


def test_batch_is_the_first_samples_of_the_split(monkeypatch):
    class Numbers(BaseDataset):
        def load_data_list(self) -> list[dict]:
            return [dict(inputs=torch.tensor(n)) for n in (7, 8, 9)]

    monkeypatch.setitem(DATASETS.module_dict, 'Numbers', Numbers)
    monkeypatch.setitem(
        TRANSFORMS.module_dict, 'Take', lambda: lambda d: d['inputs']
    )
    dataset = dict(
        type='bimm_mm.Numbers', pipeline=[dict(type='bimm_mm.Take')]
    )
    cfg = Config(dict(val_dataloader=dict(dataset=dataset)))
    assert load_batch(cfg, num=2).tolist() == [7, 8]
    with pytest.raises(ValueError, match='the val set has 3'):
        load_batch(cfg, num=4)
    with pytest.raises(ValueError, match='no train_dataloader'):
        load_batch(cfg, split='train')


def test_a_run_and_a_file_show_themselves(run, folder, tmp_path):
    file = sorted(folder.rglob('*.mp4'))[0]
    found = reconstruct(run, file, device='cpu')
    assert list(found) == ['ventral_V4', 'dorsal_V4']
    again = reconstruct(run / 'epoch_1.pth', [str(file)], device='cpu')
    for name, output in found.items():
        assert output.prediction.equal(again[name].prediction)
    names = ['ventral.png', 'dorsal_0.png', 'dorsal_0.mp4']
    assert [path.name for path in found.save(tmp_path)] == names
    shown = re.findall(r'src="data:(\w+/\w+);base64,', found._repr_html_())
    assert shown == ['image/png', 'image/png', 'video/mp4']
    assert found._repr_png_() == (tmp_path / names[0]).read_bytes()


def test_what_has_no_areas_or_frames_is_refused(run, tmp_path):
    photo = tmp_path / 'a.png'
    cv2.imwrite(str(photo), np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match=r'a\.png is an image, .* 4 frames'):
        reconstruct(run, photo, device='cpu')
    with pytest.raises(ValueError, match='is a folder: give a video or an im'):
        reconstruct(run, [tmp_path], device='cpu')
    with pytest.raises(ValueError, match='the list is empty'):
        reconstruct(run, [], device='cpu')
    with pytest.raises(
        ValueError, match='the model is a Linear, which has no'
    ):
        reconstruct(torch.nn.Linear(1, 1), photo)
    clip = np.zeros((4, 32, 32, 3), np.uint8)
    for frames in (0, -1):
        with pytest.raises(ValueError, match=f'frames={frames} must be'):
            reconstruct(run, clip, device='cpu').save(tmp_path, frames=frames)
    content = torch.load(run / 'epoch_1.pth')
    for text in ("model = 'x'", "model = dict(type='bimm_mm.BIM')", 'x = 1'):
        content['meta']['cfg'] = text
        torch.save(content, tmp_path / 'b.pth')
        with pytest.raises(ValueError, match=r'b\.pth'):
            reconstruct(tmp_path / 'b.pth', clip)
    torch.save(dict(state_dict={'a': torch.ones(1)}), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'a\.pth holds no config'):
        reconstruct(tmp_path / 'a.pth', photo)
