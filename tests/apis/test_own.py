"""Own videos: from a scanned folder to runs, through calls and commands."""

from __future__ import annotations

import json
import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bimm_mm.apis.config import load_config
from bimm_mm.apis.own import finetune, pretrain
from bimm_mm.cli import main
from bimm_mm.utils.safe_load import read_checkpoint

SIDE, FRAMES, TRAIN, VAL = 32, 4, 4, 2
# Videos of a toy are read in this process.
HERE = {
    f'train_dataloader.{key}': value
    for key, value in dict(num_workers=0, persistent_workers=False).items()
}
ALL = {
    key.replace('train', part): value
    for key, value in HERE.items()
    for part in ('train', 'val', 'test')
}
TOY = dict(size='tiny', epochs=1, image_size=SIDE, frames=FRAMES)
VIDEOMAE = dict(TOY, method='videomae', options=HERE)


@pytest.fixture(scope='session')
def scanned(tmp_path_factory) -> Path:
    """What a scan of six clips in two classes writes."""
    folder = tmp_path_factory.mktemp('scanned')
    rng = np.random.default_rng(0)
    lines = []
    for number in range(TRAIN + VAL):
        path = folder / 'videos' / 'of mine' / f'{number}.avi'
        path.parent.mkdir(parents=True, exist_ok=True)
        fourcc = cv2.VideoWriter_fourcc(*'MJPG')
        writer = cv2.VideoWriter(str(path), fourcc, 25, (48, 36))
        for _ in range(8):
            writer.write(rng.integers(0, 255, (36, 48, 3), np.uint8))
        writer.release()
        lines.append(f'of mine/{number}.avi\t{number % 2}\n')
    (folder / 'train.txt').write_text(''.join(lines[:TRAIN]))
    (folder / 'val.txt').write_text(''.join(lines[TRAIN:]))
    content = dict(
        root=str(folder / 'videos'),
        classes=['hop', 'run'],
        delimiter='\t',
        frame_interval=2,
        splits=dict(train='train.txt', val='val.txt'),
    )
    (folder / 'data.json').write_text(json.dumps(content))
    return folder


@pytest.fixture
def data(scanned, tmp_path) -> Path:
    """A copy, to be spoiled."""
    folder = Path(shutil.copytree(scanned, tmp_path / 'data'))
    _change(folder, root=str(folder / 'videos'))
    return folder


@pytest.fixture(scope='session')
def run(scanned, tmp_path_factory) -> Path:
    """BIMM, both stages; a batch is larger than the set."""
    out = tmp_path_factory.mktemp('runs') / 'run'
    pretrain(scanned, out=out, contours='sobel', options=HERE, **TOY)
    return out


def _change(folder: Path, **changes: Any) -> None:
    path = folder / 'data.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _log(out: Path) -> str:
    return ''.join(path.read_text() for path in out.glob('*/*.log'))


def test_bimm_trains_both_stages_into_a_run(run, scanned):
    record = json.loads((run / 'run.json').read_text())
    assert record['checkpoint'] == str(run / 'epoch_1.pth')
    assert record['stage1'] == str(run / 'ventral')
    assert record['data'] == str(scanned)
    assert (record['method'], record['size']) == ('bimm', 'tiny')
    cfg = load_config(run / record['config'])
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


def test_the_same_call_goes_on_where_it_was(run, scanned, capsys):
    first, second = run / 'ventral/epoch_1.pth', run / 'epoch_1.pth'
    before = first.stat().st_mtime_ns
    second.unlink()
    for again in (False, True):
        pretrain(scanned, out=run, contours='sobel', options=HERE, **TOY)
        said = capsys.readouterr().out
        assert f'stage 1 of 2, finished before: {first}' in said
        assert (f'stage 2 of 2, finished before: {second}' in said) == again
        assert second.is_file()
    assert first.stat().st_mtime_ns == before


def test_a_longer_run_goes_on(data, tmp_path):
    """Without classes and validation; repeated with more epochs."""
    _change(data, classes=[], splits=dict(train='train.txt'))
    out = tmp_path / 'out'
    pretrain(data, out=out, **VIDEOMAE)
    record = pretrain(data, out=out, **dict(VIDEOMAE, epochs=2))
    assert record['checkpoint'] == str(out / 'epoch_2.pth')
    assert read_checkpoint(record['checkpoint'])['meta']['iter'] == 2
    assert 'resumed' in _log(out)


def test_a_run_is_finetuned_on_classes(run, scanned, tmp_path):
    out, run = tmp_path / 'tuned', shutil.copytree(run, tmp_path / 'moved')
    # Labels that are not blended are counted in training, too.
    options = {**ALL, 'model.data_preprocessor.blending': None}
    record = finetune(run, scanned, out=out, epochs=1, options=options)
    assert record == json.loads((out / 'run.json').read_text())
    assert record['classes'] == ['hop', 'run']
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


def test_a_dry_run_leaves_nothing(run, data, tmp_path):
    before = sorted(tmp_path.rglob('*'))
    out = tmp_path / 'out'
    _change(data, splits=dict(train='train.txt'))
    pretrain(data, out=out, dry_run=True, **VIDEOMAE)
    finetune(run, data, out=out, dry_run=True, options=HERE)
    assert sorted(tmp_path.rglob('*')) == before


def _say(capsys, *words: Any) -> str:
    """The one sentence with which a command ends."""
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words)])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count('\n') == 1
    return said


FLAGS = ('--size', 'tiny', '--image-size', SIDE, '--frames', FRAMES)
FLAGS = (*FLAGS, '--epochs', 1)


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [
        (lambda d: (d / 'data.json').unlink(), 'bimm data scan VIDEOS --out'),
        (lambda d: (d / 'data.json').write_text('{'), 'no JSON file'),
        (lambda d: _change(d, splits={}), "what bimm data scan .*'train'"),
        (lambda d: (d / 'train.txt').write_text(''), 'txt is empty'),
        (lambda d: (d / 'train.txt').unlink(), 'train.txt does not exist'),
        (lambda d: shutil.rmtree(d / 'videos'), r'videos \(train_data'),
        (
            lambda d: (d / 'videos/of mine/1.avi').unlink(),
            '1 of the 4 files that it names .*1.avi',
        ),
    ],
)
def test_a_folder_that_is_no_scan(data, tmp_path, capsys, spoil, words):
    spoil(data)
    out = tmp_path / 'out'
    command = ('pretrain', data, '--out', out, '--method', 'videomae')
    said = _say(capsys, *command, *FLAGS)
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
        (
            'goes from 0 to 2 epochs, and the run has 1',
            ['--epochs', '20', '--set', 'train_cfg.max_epochs=1'],
        ),
        ("device='gpu' is unknown", ['--device', 'gpu']),
    ],
)
def test_an_option_that_cannot_be(scanned, tmp_path, capsys, words, flags):
    out = tmp_path / 'out'
    command = ('pretrain', scanned, '--out', out, '--method', 'videomae')
    assert words in _say(capsys, *command, *FLAGS, *flags)
    assert not out.exists()


def _one_class(folder: Path) -> None:
    _change(folder, classes=['hop'])


def _other_labels(folder: Path) -> None:
    _change(folder, classes=['hop', 'run'])
    (folder / 'val.txt').write_text('of mine/4.avi\t7\n')


@pytest.mark.parametrize(
    ('spoil', 'words'),
    [
        (_one_class, 'has 1 class(es)'),
        (_other_labels, 'has the label 7'),
    ],
)
def test_classes_that_do_not_match(
    run, data, tmp_path, capsys, spoil: Callable, words
):
    out = tmp_path / 'out'
    command = ('finetune', run, data, '--out', out)
    said = _say(capsys, *command, '--set', 'train_cgf.max_epochs=3')
    assert "mean 'train_cfg'" in said
    spoil(data)
    assert words in _say(capsys, *command)
    assert not out.exists()


def test_runs_that_are_none_or_others(run, scanned, tmp_path, capsys):
    tail = (scanned, '--out', tmp_path / 'out')
    assert 'has no run.json' in _say(capsys, 'finetune', tmp_path, *tail)
    said = _say(capsys, 'finetune', run / 'ventral', *tail)
    assert 'has no run.json' in said
    # Started, not finished.
    record = json.loads((run / 'run.json').read_text())
    (tmp_path / 'run.json').write_text(json.dumps({**record, 'checkpoint': 0}))
    assert 'is not finished' in _say(capsys, 'finetune', tmp_path, *tail)
    command = ('pretrain', scanned, '--method', 'videomae', *FLAGS, '--out')
    assert "method is 'bimm', not 'video" in _say(capsys, *command, run)
    assert "verb is 'pretrain'" in _say(
        capsys, 'finetune', run, scanned, '--out', run
    )
    assert 'is there and no run' in _say(capsys, *command, scanned)
    # Nothing can be made there, whoever asks.
    said = _say(capsys, *command, '/proc/none')
    assert '/proc/none cannot be written' in said


def test_a_broken_clip_is_named(data, tmp_path, capsys):
    """One of four is more than the twentieth that is passed over."""
    (data / 'videos/of mine/1.avi').write_bytes(b'no video' * 99)
    command = ('pretrain', data, '--out', tmp_path / 'out', *FLAGS)
    settings = [x for k, v in HERE.items() for x in ('--set', f'{k}={v}')]
    said = _say(capsys, *command, '--method', 'videomae', *settings)
    assert '1.avi' in said


def test_a_full_disk_is_told_and_the_run_goes_on(scanned, tmp_path):
    out, limits = tmp_path / 'out', resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r'epoch_1\.pth'):
            pretrain(scanned, out=out, **VIDEOMAE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [*out.glob('*.pth')]
    assert pretrain(scanned, out=out, **VIDEOMAE)['checkpoint']
