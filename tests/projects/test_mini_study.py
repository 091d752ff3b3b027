"""The mini study: small configs, order of runs, and what is told of them."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from mmengine.registry import init_default_scope
from PIL import Image

from bimm_mm.apis.comparison import MAJORITY, Comparison
from bimm_mm.apis.curves import read_scalars
from bimm_mm.apis.features import TRIVIAL
from bimm_mm.apis.folders import Videos, read_folds
from bimm_mm.apis.scan import scan
from bimm_mm.registry import MODELS
from projects.mini_study import pictures, report, run
from projects.mini_study.build_configs import (
    IMAGE_METHODS,
    METHODS,
    OPTIONAL,
    Clips,
    config_path,
    pretraining,
    read_size,
    released,
    schedule,
    ventral_of,
)
from projects.mini_study.run import Study
from tests.processes import wait_until
from tests.toy_configs import changed_keys

STAGES = sorted({s for m in (*METHODS, *OPTIONAL) if (s := ventral_of(m))})
VIDEOS = Videos(
    *(Path('data'), 'videos', {}, ' ', ['a', 'b'], 3, {}),
    folds=0,
)
CLIPS = Clips(VIDEOS, Path('train.txt'), Path('watched.txt'), 96)


ENCODER = {'arch', 'img_size', 'patch_size', 'num_frames'}


def _is_size(key: str) -> bool:
    """Whether a field of the model may differ from the released one."""
    path = key.split('.')
    if 'backbone' in path:
        return bool(ENCODER & set(path))
    return (
        path[-1] == 'ventral_checkpoint'
        or path[-2:] == ['target', 'source']
        or (
            path[-2] == 'decoder' and path[-1] in ('decoder_dims', 'num_heads')
        )
    )


@pytest.mark.parametrize(
    'name', [*METHODS, *IMAGE_METHODS, *STAGES, *OPTIONAL]
)
def test_only_sizes_differ_from_the_released_config(name) -> None:
    full, numbers = released(name), read_size('small')
    cfg = pretraining(name, numbers, CLIPS)
    changed = changed_keys(cfg.model, full.model)
    assert changed  # it is smaller
    assert [key for key in changed if not _is_size(key)] == []
    optimizer = copy.deepcopy(full.optim_wrapper)
    optimizer.optimizer.lr = numbers.pretrain.lr
    assert cfg.optim_wrapper == optimizer
    for key in ('custom_imports', 'default_scope', 'env_cfg', 'log_level'):
        assert cfg[key] == full[key]
    assert cfg.custom_hooks[: len(full.custom_hooks)] == full.custom_hooks
    schedule = changed_keys(cfg.param_scheduler, full.param_scheduler)
    # One length and one last rate for all methods.
    allowed = {'begin', 'end', 'eta_min', 'eta_min_ratio'}
    assert {key.split('.')[-1] for key in schedule} <= allowed


def test_methods_differ_in_their_model_alone() -> None:
    first, *others = (
        pretraining(name, read_size('small'), CLIPS) for name in METHODS
    )
    for cfg in others:
        assert {**cfg, 'model': None} == {**first, 'model': None}


@pytest.mark.parametrize('name', [*METHODS, *STAGES])
def test_every_method_can_be_built(name) -> None:
    cfg = pretraining(name, read_size('toy'), CLIPS)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    branch = getattr(model, 'dorsal', model)
    assert branch.backbone.grid() == (
        (4, 4, 4) if name in METHODS else (1, 4, 4)
    )
    # Half of the encoder's width and heads, as 384 and 6 of ViT-B's 768.
    for area in cfg.model.get('dorsal', cfg.model).areas:
        assert (area.decoder.decoder_dims, area.decoder.num_heads) == (24, 1)


def test_sizes_and_steps() -> None:
    numbers = read_size('small', {'pretrain.lr': 1e-3})
    assert numbers.pretrain.lr == 1e-3
    for name, options in (('huge', {}), ('small', {'pretrain.lrs': 1})):
        with pytest.raises(ValueError, match=r'no size|no .lrs'):
            read_size(name, options)
    recipe = dict(numbers.pretrain)
    # 96 clips 133 times are 199 full batches of 64; 20 epochs are 3980 steps.
    assert schedule(96, recipe) == (133, 20)
    # Sizes may have other settings, the same for every method.
    options = {'mask_ratio': 0.5, 'pixel_norm': 'clip'}
    cfg = pretraining('videomae', read_size('cpu', options), CLIPS)
    assert cfg.model.masking.ratio == 0.5
    assert cfg.model.areas[0].target.norm == 'clip'
    # A warm-up of one epoch needs two steps.
    assert schedule(96, recipe | {'steps': 1}) == (2, 3)
    # A large set: 149 full batches are an epoch, 13 of them 1937 steps.
    assert schedule(9537, recipe | {'steps': 2000}) == (1, 13)
    # bimm@0.5 is half as long, its ventral stage too.
    assert ventral_of('bimm@0.5') == f'{ventral_of("bimm")}@0.5'
    # So is the one on pictures of its own, which is else the same.
    assert run.method('bimm+pictures@2') == 'bimm+pictures@2'
    assert ventral_of('bimm+pictures@2') == f'{ventral_of("bimm")}+pictures@2'
    assert config_path('bimm+pictures') == METHODS['bimm']
    for wrong in ('videomae+pictures', 'bim', 'bimm@0'):
        with pytest.raises(ValueError, match=re.escape(wrong)):
            run.method(wrong)
    for name in ('bimm@0.5', ventral_of('bimm@0.5')):
        cfg = pretraining(name, numbers, CLIPS)
        times = cfg.train_dataloader.dataset.dataset.times
        length = times * CLIPS.number // cfg.train_dataloader.batch_size
        assert length * cfg.train_cfg.max_epochs == pytest.approx(2000, abs=50)


def _write_data(folder: Path, videos: Path, lines: list[str]) -> Path:
    """DATA of a scan, with as many clips in both folds."""
    halves = [lines[::2], lines[1::2]]
    folds = []
    for number in (0, 1):
        names = {
            'train': f'fold{number}_train.txt',
            'val': f'fold{number}_val.txt',
        }
        parts = (halves[1 - number], halves[number])
        for name, part in zip(names.values(), parts, strict=True):
            (folder / name).write_text('\n'.join(part) + '\n')
        folds.append(names)
    content = dict(
        root=str(videos),
        classes=['hugging', 'kicking', 'pointing'],
        frame_interval=3,
        splits=folds[0],
        folds=folds,
    )
    (folder / 'data.json').write_text(json.dumps(content))
    return folder


@pytest.fixture
def study(tmp_path) -> Study:
    """A study of twelve clips, of which nothing was run."""
    lines = [f'{n}.avi {n // 2 % 3}' for n in range(12)]
    data = _write_data(tmp_path, tmp_path / 'videos', lines)
    return Study(tmp_path / 'home', data, read_folds(data), read_size('toy'))


def _give(home: Path, name: str, seed: int, fold: int, **top1: float) -> None:
    """Pretend that scores are measured."""
    unit = home / f'seed{seed}-fold{fold}' / 'compare'
    rows = []
    for kind, value in top1.items():
        place = unit / name / f'fold{fold}-seed{seed}'
        place.mkdir(parents=True, exist_ok=True)
        (place / f'{kind}.json').write_text(json.dumps({'top1': value}))
        about = dict(method=name, score=kind, seed=seed, fold=fold)
        rows.append(dict(about, top1=value, train=6, test=6))
    path = unit / 'results.json'
    if path.is_file():
        rows += json.loads(path.read_text())['scores']
    path.write_text(json.dumps({'scores': rows}))


def test_units_that_fail_are_named_and_the_rest_goes_on(
    study, monkeypatch
) -> None:
    done = []

    def fail(self: Study, methods: list[str], seed: int, fold: int) -> bool:
        done.append(fold)
        if not fold:
            raise FloatingPointError('the loss is nan')
        return True

    monkeypatch.setattr(Study, 'run', fail)
    # Another call works on this one.
    folder = study.unit(1, 0)
    folder.mkdir(parents=True)
    with FileLock(folder / '.lock', thread_local=False):
        units = [(0, 0), (1, 0), (0, 1)]
        (failed,) = run.run_all(study, ['bimm'], units)
    assert 'seed0-fold0: FloatingPointError: the loss is nan' in failed
    assert done == [0, 1]


def test_a_folder_holds_one_study(study) -> None:
    study.check()
    study.check()
    study.numbers.pretrain.lr = 1.0
    with pytest.raises(ValueError, match='other numbers'):
        study.check()


def test_stages_on_pictures_and_pretraining_alone(study, tmp_path) -> None:
    unit = tmp_path / 'unit'
    unit.mkdir()
    with pytest.raises(ValueError, match='give --pictures DATA'):
        study._pictures(unit)
    pictures = replace(study, pictures=study.data, pretrain_only=True)
    # All of DATA, its training and its test clips.
    clips = pictures._pictures(unit)
    assert clips.number == 12 == len(clips.train.read_text().splitlines())
    assert pictures.left(['bimm'], 0, 0) == ['bimm']
    done = pictures.unit(0, 0) / 'bimm'
    done.mkdir(parents=True)
    (done / 'run.json').write_text('{"checkpoint": "epoch_1.pth"}')
    assert pictures.left(['bimm'], 0, 0) == []


def test_folders_are_read_as_one(study, tmp_path) -> None:
    homes = [study.home, tmp_path / 'other']
    for home in homes:
        Study(home, study.data, study.folds, study.numbers).check()
        _give(home, 'bimm', 0, 0, finetune=70.0)
    _give(homes[0], 'videomae', 0, 0, finetune=60.0)
    _give(homes[1], 'videomae', 0, 1, finetune=50.0)
    _give(homes[1], 'bimm', 0, 1, finetune=40.0)
    scores = report.read_scores(homes)
    # What both folders have counts once.
    assert len(scores) == 4
    page = report.write_report(homes, tmp_path / 'report').read_text()
    assert 'bimm - videomae' in page and '55.0 (2)' in page
    other = Study(tmp_path / 'third', study.data, {}, study.numbers)
    other.check()
    with pytest.raises(ValueError, match='study with other clips'):
        report.read_scores([study.home, other.home])


SHORT = {'pretrain.steps': 12, 'pretrain.epochs': 4}


@pytest.fixture
def real_flags(data_root, tmp_path) -> list[str]:
    """12 real clips of 3 classes, half of them tested."""
    videos = data_root / 'action_mini' / 'ut_interaction' / 'videos_sq'
    if not videos.is_dir():
        pytest.skip(f'no real clips at {videos}')
    lines = [
        f'{name}/{clip.name} {label}'
        for label, name in enumerate(('hugging', 'kicking', 'pointing'))
        for clip in sorted((videos / name).glob('*'))[:4]
    ]
    return [
        str(_write_data(tmp_path, videos, lines)),
        f'--home={tmp_path / "home"}',
        *('--size', 'toy', '--methods', 'bimm'),
        *('--seeds', '0', '--folds', '0'),
        *('--set', *(f'{key}={value}' for key, value in SHORT.items())),
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_real_clips_to_the_tables(real_flags, tmp_path, capsys) -> None:
    home = tmp_path / 'home'
    # No run takes a second.
    assert run.main([*real_flags, '--minutes', '0.01']) == 0
    assert 'seed0-fold0: bimm, scratch to do' in capsys.readouterr().out
    assert not list(home.rglob('finetune.json'))

    # SIGTERM in the middle of a training.
    stage = home / 'seed0-fold0' / 'pretrain_ventral_in1k'
    _when(
        lambda: (stage / 'last_checkpoint').is_file(),
        partial(os.kill, os.getpid(), signal.SIGTERM),
    )
    run.main(real_flags)
    assert not (home / 'seed0-fold0' / 'bimm').exists()
    assert run.main(real_flags) == 0
    assert '0 folds to do' in capsys.readouterr().out
    log = read_scalars(stage)
    numbers = read_size('toy', SHORT).pretrain
    assert max(log['loss']) == pytest.approx(numbers.steps, abs=numbers.epochs)
    # Before the first epoch and after each; it may have been stopped between
    # saving and measuring.
    assert len(log['V4/ratio']) in (numbers.epochs, numbers.epochs + 1)

    report.main([str(home)])
    scores = pd.read_csv(home / 'scores.csv')
    assert scores.top1.between(0, 100).all()
    # Three scores of each method, two of both trivial features.
    assert {*scores.method} == {'bimm', 'scratch', *TRIVIAL, MAJORITY}
    assert len(scores) == 3 * 2 + 2 * 2 + 3
    page = (home / 'report.html').read_text()
    assert 'bimm - scratch' in page and 'pretrain_ventral_in1k' in page
    kept = json.loads((home / 'results.json').read_text())
    assert len(kept['scores']) == len(scores)
    (stage,) = (
        x for x in kept['trainings'] if x['method'] == 'pretrain_ventral_in1k'
    )
    assert stage['steps'] == max(log['loss']) and stage['revision']
    assert stage['last']['V4/ratio'] == log['V4/ratio'][stage['steps']]


def _write_pictures(folder: Path) -> None:
    """Six pictures each of two classes to train and test with; one is gray."""
    rng = np.random.default_rng(0)
    for part in ('train', 'val'):
        for name, top in (('dark', 60), ('bright', 250)):
            (folder / part / name).mkdir(parents=True)
            for number in range(6):
                pixels = rng.integers(top - 60, top, (6, 8, 3), dtype='uint8')
                picture = Image.fromarray(pixels).resize((40, 32))
                picture = picture.convert('RGB' if number else 'L')
                picture.save(folder / part / name / f'{number}.jpg')


def test_pictures_are_compared_as_clips_of_one_frame(tmp_path) -> None:
    _write_pictures(tmp_path / 'pictures')
    out = tmp_path / 'clips'
    pictures.main([str(tmp_path / 'pictures'), '--out', str(out)])
    for path in sorted((tmp_path / 'pictures').rglob('*.jpg')):
        clip = out / path.relative_to(out.parent / 'pictures')
        with av.open(str(clip.with_suffix('.mp4'))) as container:
            (frame,) = container.decode(video=0)
        there = frame.to_ndarray(format='rgb24').astype(float)
        wanted = np.asarray(Image.open(path).convert('RGB'), dtype=float)
        # Decoders interpolate colors differently.
        assert np.abs(there - wanted).mean() < 3
    data = tmp_path / 'data'
    scan(out, out=data, labels=out / 'labels.csv', frames=1, quiet=True)
    study = Study(tmp_path / 'home', data, read_folds(data), read_size('toy'))
    study.numbers.pretrain.update(steps=6)
    comparison = Comparison(
        [study.pretrain('mae', 0, 0)],
        data,
        out=tmp_path / 'compare',
        epochs=1,
        batch_size=4,
        kinds=['knn'],
        quiet=True,
    )
    scores = {x['method']: x['top1'] for x in comparison.run()['scores']}
    # One frame does not move.
    assert {*scores} == {'mae', 'scratch', 'middle-frame', MAJORITY}
    assert scores['mae'] == 100 and scores[MAJORITY] == 50


def _when(happened, then) -> None:
    """Do something in a thread once something else has happened."""

    def wait() -> None:
        wait_until(happened, 600)
        then()

    threading.Thread(target=wait, daemon=True).start()
