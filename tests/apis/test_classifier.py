"""Finetuned models tell classes, through our inferencer and the libraries'."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

import bimm_mm
from bimm_mm.apis.convert import convert_checkpoint
from tests.apis.conftest import clip_files, write_checkpoint

NAMES = ['shake', 'hug', 'kick', 'point', 'punch', 'push']


@pytest.fixture
def video_run(cfg: Config, tmp_path: Path) -> Path:
    """Finetuned on the five clips, with names of the classes."""
    folder = tmp_path / 'finetune'
    folder.mkdir()
    meta = dict(dataset_meta=dict(classes=NAMES))
    cfg.model.backbone.init_cfg = None
    write_checkpoint(folder / 'epoch_2.pth', cfg, **meta)
    return folder


@pytest.fixture
def image_run(image_config: Config, tmp_path: Path) -> Path:
    cfg = image_config
    cfg.test_dataloader = cfg.val_dataloader
    cfg.model.backbone.init_cfg = None
    write_checkpoint(tmp_path / 'photos.pth', cfg)
    cfg.dump(tmp_path / 'photos.py')
    return tmp_path / 'photos.pth'


@torch.no_grad()
def test_scores_are_those_of_the_library(
    video_run, cfg, folder, plain_inputs, tmp_path
):
    classifier = bimm_mm.Classifier(video_run, device='cpu')
    result = classifier(str(folder), batch_size=2, out_dir=tmp_path / 'vis')
    model = classifier.model
    x = plain_inputs(cfg, 'test', model)
    features = model.backbone(x.flatten(0, 1))
    logits = features @ model.cls_head.fc_cls.weight.T
    logits += model.cls_head.fc_cls.bias
    expected = logits.softmax(1).unflatten(0, (5, -1)).mean(1)
    lines = (folder / 'list.txt').read_text().splitlines()
    rows = {
        path: result['predictions'][index]
        for index, path in enumerate(clip_files(folder))
    }
    for line, scores in zip(lines, expected, strict=True):
        row = rows[str(folder / 'videos' / line.split()[0])]
        assert row['scores'] == pytest.approx(scores.tolist(), abs=1e-5)
        assert row['label'] == int(scores.argmax())
        assert row['name'] == NAMES[row['label']]
        assert row['score'] == max(row['scores'])
    assert len(list((tmp_path / 'vis').glob('*.png'))) == 5
    picture = result['visualization'][0]
    assert picture.dtype == np.uint8 and picture.std() > 10
    # The library's own, on the same checkpoint, here with one view.
    from mmaction.apis import inference_recognizer, init_recognizer

    cfg.test_pipeline = cfg.val_dataloader.dataset.pipeline
    theirs = init_recognizer(cfg, str(video_run / 'epoch_2.pth'), 'cpu')
    first = str(folder / 'videos' / lines[0].split()[0])
    sample = inference_recognizer(theirs, first)
    x = plain_inputs(cfg, 'val', model)[:1]
    logits = model.cls_head(model.backbone(x.flatten(0, 1)))
    torch.testing.assert_close(sample.pred_score, logits.softmax(1)[0])


def test_photos(image_run, image_config):
    classifier = bimm_mm.Classifier(
        image_run, device='cpu', classes=['ant', 'bee']
    )
    place = Path(image_config.val_dataloader.dataset.data_prefix)
    files = sorted(map(str, place.rglob('*.jpg')))
    found = classifier(files, batch_size=4)
    from mmpretrain import ImageClassificationInferencer

    theirs = ImageClassificationInferencer(
        str(image_run.with_suffix('.py')), str(image_run), device='cpu'
    )
    for ours, other in zip(found['predictions'], theirs(files), strict=True):
        assert ours['label'] == other['pred_label']
        np.testing.assert_allclose(
            ours['scores'], other['pred_scores'], atol=1e-5
        )
        assert ours['name'] == ['ant', 'bee'][ours['label']]
    samples = classifier(files[0], return_datasamples=True)['predictions']
    assert samples[0].pred_label.tolist() == [found['predictions'][0]['label']]


def test_an_official_file_goes_with_a_config(video_run, cfg, folder, tmp_path):
    cfg.model.backbone.update(with_cls_token=False, out_type='avg')
    run, official = video_run / 'epoch_2.pth', tmp_path / 'official.pth'
    write_checkpoint(run, cfg)
    convert_checkpoint(run, official, to='videomae')
    assert 'head.weight' in torch.load(official)['model']
    file = clip_files(folder)[0]
    with pytest.raises(
        ValueError, match=r'official.*holds no config.*config='
    ):
        bimm_mm.Classifier(official)
    found = bimm_mm.Classifier(official, config=cfg, device='cpu')(file)
    wanted = bimm_mm.Classifier(run, device='cpu')(file)
    scores = [x['predictions'][0]['scores'] for x in (found, wanted)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_a_run_says_its_classes_and_needs_no_test(video_run, cfg, folder):
    cfg.test_dataloader = None
    cfg.test_pipeline = cfg.val_dataloader.dataset.pipeline
    write_checkpoint(video_run / 'epoch_2.pth', cfg)
    record = video_run / 'run.json'
    record.write_text('{"classes": ["a", "b", "c", "d", "e", "f"]}')
    classifier = bimm_mm.Classifier(video_run, device='cpu')
    assert classifier.classes == list('abcdef')
    assert classifier.pipeline(clip_files(folder)[0])['inputs'].ndim == 5
    record.unlink()
    cfg.pop('test_pipeline')
    write_checkpoint(video_run / 'epoch_2.pth', cfg)
    with pytest.raises(ValueError, match=r'epoch_2\.pth has no test_datal'):
        bimm_mm.Classifier(video_run)


def test_what_does_not_serve_is_refused(video_run, run, tmp_path):
    with pytest.raises(ValueError, match=r'epoch_1\.pth is a pretraining'):
        bimm_mm.Classifier(run)
    for names in (['a'], list('abcdefg')):
        with pytest.raises(ValueError, match=r'names of classes.* has 6'):
            bimm_mm.Classifier(video_run, classes=names)
    path = video_run / 'epoch_2.pth'
    content = torch.load(path)
    content['state_dict'].pop('cls_head.fc_cls.bias')
    torch.save(content, path)
    with pytest.raises(ValueError, match=r'does not cover.*cls_head\.fc_cls'):
        bimm_mm.Classifier(video_run)
    del content['meta']['cfg']
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'a\.pth holds no config'):
        bimm_mm.Classifier(tmp_path / 'a.pth')


def test_broken_and_missing_files_are_named(video_run, folder, tmp_path):
    classifier = bimm_mm.Classifier(video_run, device='cpu')
    whole = Path(clip_files(folder)[1]).read_bytes()
    (tmp_path / 'b.mp4').write_bytes(whole[: len(whole) // 9])
    (tmp_path / 'empty').mkdir()
    for name, words in (
        ('b.mp4', r'b\.mp4 cannot be decoded'),
        ('gone.mp4', r'gone\.mp4'),
        ('empty', 'holds no video and no image'),
    ):
        with pytest.raises(ValueError, match=words):
            classifier(str(tmp_path / name))
    shutil.copy(clip_files(folder)[0], tmp_path / 'c.mp4')
    with pytest.raises(OSError, match='/proc/0000_c'):
        classifier(str(tmp_path / 'c.mp4'), out_dir='/proc')
