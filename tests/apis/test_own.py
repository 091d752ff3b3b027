"""Own videos: from a scanned folder to runs, through calls and commands."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from bimm_mm.apis import stages
from bimm_mm.apis.config import load_config
from bimm_mm.apis.own import finetune, pretrain
from bimm_mm.utils.safe_load import read_checkpoint
from tests.apis.conftest import (
    FRAMES,
    HERE,
    ONLY_TRAIN,
    SIDE,
    TOY,
    change,
    spoil,
)

VIDEOMAE = dict(TOY, method='videomae', options=ONLY_TRAIN)


def _log(out: Path) -> str:
    return ''.join(path.read_text() for path in out.glob('*/*.log'))


def test_bimm_trains_both_stages_into_a_run(pretrained, scanned):
    record = json.loads((pretrained / 'run.json').read_text())
    assert record['checkpoint'] == str(pretrained / 'epoch_1.pth')
    assert record['stage1'] == str(pretrained / 'ventral')
    assert record['data'] == str(scanned)
    assert (record['method'], record['size']) == ('bimm', 'tiny')
    cfg = load_config(pretrained / record['config'])
    dorsal, ventral = cfg.model.dorsal, cfg.model.ventral
    assert dorsal.backbone.arch == ventral.backbone.arch == 'tiny'
    # One name moves encoders and pipeline.
    assert dorsal.backbone.img_size == ventral.backbone.img_size == SIDE
    assert dorsal.backbone.num_frames == FRAMES
    dataset = cfg.train_dataloader.dataset.dataset
    decode, enlarge, _, crop, _ = dataset.pipeline
    assert decode.transforms[1].clip_len == FRAMES
    assert decode.transforms[1].frame_interval == 2
    assert enlarge.size == crop.transforms[0].input_size == SIDE
    assert crop.transforms[1].scale == (SIDE, SIDE)
    assert (dataset.data_prefix.video, dataset.delimiter) == (
        str(scanned / 'videos'),
        '\t',
    )
    # One epoch has no room for a warm-up.
    assert [s.type for s in cfg.param_scheduler] == ['CosineAnnealingLR']
    # What the run has, later commands take from it.
    assert cfg.contours == dorsal.areas[1].target.source == 'sobel'
    checkpoint = read_checkpoint(record['checkpoint'])
    assert checkpoint['meta']['contours'] == 'sobel'
    assert checkpoint['meta']['iter'] == 1
    assert all(x.isfinite().all() for x in checkpoint['state_dict'].values())
    # The rate of the batches that there are, of four videos.
    said = _log(pretrained)
    assert 'learning rate 3.75e-05 = 0.0006 x 0.0625 (batch_size=16 ' in said


def test_the_same_call_goes_on_where_it_was(pretrained, scanned, capsys):
    first, second = (
        pretrained / 'ventral/epoch_1.pth',
        pretrained / 'epoch_1.pth',
    )
    before = first.stat().st_mtime_ns
    second.unlink()
    for again in (False, True):
        pretrain(
            scanned,
            out=pretrained,
            contours='sobel',
            options=ONLY_TRAIN,
            **TOY,
        )
        said = capsys.readouterr().out
        assert f'stage 1 of 2, finished before: {first}' in said
        assert (f'stage 2 of 2, finished before: {second}' in said) == again
        assert second.is_file()
    assert first.stat().st_mtime_ns == before


def test_a_longer_run_goes_on(data, tmp_path):
    """Without classes and validation; repeated with more epochs."""
    change(data / 'data.json', classes=[], splits=dict(train='train.txt'))
    out = tmp_path / 'out'
    pretrain(data, out=out, log_to='tensorboard', **VIDEOMAE)
    assert len([*out.glob('*/vis_data/events.*')]) == 1
    record = pretrain(data, out=out, **dict(VIDEOMAE, epochs=2))
    assert record['checkpoint'] == str(out / 'epoch_2.pth')
    assert read_checkpoint(record['checkpoint'])['meta']['iter'] == 2
    assert 'resumed' in _log(out)


def test_a_run_is_finetuned_on_classes(pretrained, scanned, tmp_path, capsys):
    out, run = (
        tmp_path / 'tuned',
        shutil.copytree(pretrained, tmp_path / 'moved'),
    )
    # Labels that are not blended are counted in training, too.
    options = {**HERE, 'model.data_preprocessor.blending': None}
    record = finetune(run, scanned, out=out, epochs=1, options=options)
    assert re.search(r', acc/top1 [01]\.\d{4}, ', capsys.readouterr().out)
    assert record == json.loads((out / 'run.json').read_text())
    assert record['classes'] == ['dark', 'bright']
    assert (record['run'], record['size']) == (str(run), 'tiny')
    cfg = load_config(out / 'config.py')
    backbone, head = cfg.model.backbone, cfg.model.cls_head
    assert (backbone.arch, backbone.img_size) == ('tiny', SIDE)
    assert backbone.num_frames == FRAMES
    assert backbone.init_cfg.checkpoint == str(run / 'epoch_1.pth')
    assert (head.in_channels, head.num_classes) == (192, 2)
    assert cfg.val_dataloader.dataset.ann_file == str(scanned / 'val.txt')
    said = _log(out)
    assert '149 of 149 tensors' in said and 'acc/top1' in said
    assert 'top1_acc' in said and 'acc/top5' not in said  # of two classes


def test_a_dry_run_leaves_nothing(pretrained, data, tmp_path):
    before = sorted(tmp_path.rglob('*'))
    out = tmp_path / 'out'
    change(data / 'data.json', splits=dict(train='train.txt'))
    pretrain(data, out=out, dry_run=True, **VIDEOMAE)
    finetune(pretrained, data, out=out, dry_run=True, options=ONLY_TRAIN)
    assert sorted(tmp_path.rglob('*')) == before


def test_compile_is_a_flag(data, monkeypatch):
    seen = []
    monkeypatch.setattr(
        stages, 'train_stages', lambda cfgs, *_, **__: seen.extend(cfgs)
    )
    pretrain(data, out='out', compile=True, **VIDEOMAE)
    (cfg,) = seen
    assert cfg.compile is True


FLAGS = ('--size', 'tiny', '--image-size', SIDE, '--frames', FRAMES)
FLAGS = (*FLAGS, '--epochs', 1)


@pytest.mark.parametrize(
    ('verb', 'file', 'how', 'words'),
    [
        ('pretrain', 'data.json', '{', 'no JSON f'),
        ('pretrain', 'data.json', '[' * 99_999, 'no JSON f'),
        ('pretrain', 'data.json', dict(splits={}), "what bimm data .*'train'"),
        ('pretrain', 'data.json', dict(frame_interval=0), 'frame_interval=0'),
        ('pretrain', 'data.json', dict(classes=None), 'what bimm data scan'),
        ('pretrain', 'data.json', dict(delimiter=''), 'is not a number'),
        ('finetune', 'val.txt', 'of mine/4.avi\t²\n', 'has the label -1'),
        ('pretrain', 'train.txt', '', 'is empty'),
        ('pretrain', 'train.txt', None, 'does not exist'),
        ('pretrain', 'videos', None, r'videos \(train_data'),
        ('pretrain', 'videos/of mine/1.avi', None, '1 of the 4 .*1.avi'),
        (
            'finetune',
            'data.json',
            dict(classes=['a']),
            r'has 1 class, and two',
        ),
        ('finetune', 'val.txt', 'of mine/4.avi\t7\n', 'has the label 7'),
    ],
)
def test_a_folder_that_is_no_scan(
    pretrained, data, tmp_path, mistake, verb, file, how, words
):
    spoil(data / file, how)
    out = tmp_path / 'out'
    command = [verb, data, '--out', out, '--method', 'videomae', *FLAGS]
    if verb == 'finetune':
        command = [verb, pretrained, data, '--out', out]
    said = mistake(*command)
    assert re.search(words, said), said
    assert not out.exists()


@pytest.mark.parametrize(
    ('words', 'flags'),
    [
        ('--contours sobel', ['--method', 'bimm']),
        ('videomae predicts none', ['--contours', 'sobel']),
        ("size='big' is unknown", ['--size', 'big']),
        ("method='mae' is unknown", ['--method', 'mae']),
        ('image_size=40 must be a multiple of 16', ['--image-size', '40']),
        ('frames=3 must be a multiple of 2', ['--frames', '3']),
        ('epochs=0 must be a whole number of 1', ['--epochs', '0']),
        ('--set 3: give KEY=VALUE', ['--set', '3']),
        ("mean 'train_cfg'", ['--set', 'train_cgf.max_epochs=3']),
        ('has no such part', ['--set', 'model.areas.7.weight=1']),
        ('say it with --epochs', ['--set', 'train_cfg.max_epochs=1']),
        ('say it with --seed', ['--set', 'randomness.seed=1']),
        ('say it with --contours', ['--set', 'contours=sobel']),
        ("device='gpu' is unknown", ['--device', 'gpu']),
        ("log_to='x' is unknown", ['--log-to', 'x']),
        ("work_dir='x': out", ['--set', 'work_dir=x']),
    ],
)
def test_an_option_that_cannot_be(scanned, tmp_path, mistake, words, flags):
    out = tmp_path / 'out'
    command = ('pretrain', scanned, '--out', out, '--method', 'videomae')
    assert words in mistake(*command, *FLAGS, *flags)
    assert not out.exists()


@pytest.mark.parametrize('setting', ['model=3', 'model.backbone=3'])
def test_a_part_that_cannot_be_built_is_told(
    scanned, tmp_path, mistake, setting
):
    command = ('pretrain', scanned, '--out', tmp_path, '--method', 'videomae')
    said = mistake(*command, *FLAGS, '--set', setting)
    assert 'TypeError: ' in said and 'should be a' in said
    # The folder is not lost to it.
    assert 'TypeError: ' in mistake(*command, '--set', setting)


def test_two_commands_do_not_write_into_one_run(scanned, tmp_path, mistake):
    command = ('pretrain', scanned, '--out', tmp_path, '--method', 'videomae')
    with FileLock(tmp_path / '.lock'):
        said = mistake(*command, *FLAGS)
    assert f'another command writes into {tmp_path}: wait' in said


def test_runs_that_are_none_or_others(pretrained, scanned, tmp_path, mistake):
    tail = (scanned, '--out', tmp_path / 'out')
    said = mistake('finetune', pretrained / 'ventral', *tail)
    assert 'has no run.json' in said
    shutil.copyfile(pretrained / 'run.json', tmp_path / 'run.json')
    for how in (dict(checkpoint=3), dict(config=None)):
        change(tmp_path / 'run.json', **how)
        said = mistake('finetune', tmp_path, *tail)
        assert 'is not what bimm pretrain writes' in said
    change(tmp_path / 'run.json', checkpoint=0)
    assert 'is not finished' in mistake('finetune', tmp_path, *tail)
    command = ('pretrain', scanned, '--method', 'videomae', *FLAGS, '--out')
    assert "method is 'bimm', not 'video" in mistake(*command, pretrained)
    command = ('finetune', pretrained, scanned, '--out')
    assert "verb is 'pretrain'" in mistake(*command, pretrained)
    assert 'is there and no run' in mistake(*command, scanned)
