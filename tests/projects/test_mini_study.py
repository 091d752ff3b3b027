"""The mini study: folds, small configs, order of runs, interval and tables."""

from __future__ import annotations

import copy
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from mmengine.registry import init_default_scope
from scipy import stats

from bimm_mm.apis.config import load_config
from bimm_mm.registry import MODELS
from projects.mini_study import folds, report, run
from projects.mini_study.build_configs import (
    FINETUNING,
    METHODS,
    OPTIONAL,
    Clips,
    finetuning,
    pretraining,
    read_size,
    released,
    schedule,
    ventral_of,
)
from projects.mini_study.study import Run, Study
from tests.toy_configs import changed_keys

PRETRAINED = [name for name, config in METHODS.items() if config]
STAGES = sorted({s for m in (*PRETRAINED, *OPTIONAL) if (s := ventral_of(m))})
GROUP = r'_g\d+_'
CLIPS = Clips(Path('videos'), Path('train.txt'), Path('test.txt'), 96, 2)


@pytest.fixture
def ucf_folder(tmp_path) -> Path:
    """Two classes, six groups of three clips, by UCF101's names; empty."""
    folder = tmp_path / 'videos'
    for name in ('Archery', 'Biking'):
        (folder / name).mkdir(parents=True)
        for group in range(1, 7):
            for clip in range(1, 4):
                path = f'v_{name}_g{group:02}_c{clip:02}.avi'
                (folder / name / path).touch()
    return folder


@pytest.fixture
def clips_csv(ucf_folder, tmp_path) -> Path:
    """Three folds of these clips."""
    out = tmp_path / 'clips.csv'
    flags = ['--folds', '3', '--group', GROUP]
    folds.main([str(ucf_folder), '--out', str(out), *flags])
    return out


@pytest.fixture
def study(ucf_folder, clips_csv, tmp_path) -> Study:
    """A study of these clips, of which nothing was run."""
    clips = folds.read_clips(clips_csv, ucf_folder)
    home = tmp_path / 'home'
    return Study(home, clips, ucf_folder, numbers=read_size('toy'))


def test_folds_keep_groups_together_and_are_stratified(
    ucf_folder, clips_csv
) -> None:
    clips = folds.read_clips(clips_csv, ucf_folder)
    assert list(clips['label']) == [0] * 18 + [1] * 18
    assert folds.fold_names(clips) == ['0', '1', '2']
    groups = clips['path'].str.extract(f'({GROUP})')[0]
    assert (clips.groupby(groups)['fold'].nunique() == 1).all()
    counts = clips.groupby(['fold', 'label']).size()
    assert (counts == 6).all()
    first, again, other = (
        folds.make_folds(folds.find_clips(ucf_folder), seed=seed)
        for seed in (0, 0, 1)
    )
    assert first.equals(again) and not first.equals(other)


def test_clips_of_no_recording_are_refused(ucf_folder, capsys) -> None:
    out = ucf_folder / 'clips.csv'
    with pytest.raises(SystemExit):
        folds.main(
            [str(ucf_folder), '--out', str(out), '--group', r'_(s\d+)_']
        )
    assert 'does not match Archery/' in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ('message', 'change'),
    [
        ('no table with', lambda text: text.replace('label', 'class')),
        ('stands twice', lambda text: text + text.splitlines()[1] + '\n'),
        ('has a space', lambda text: text + 'my clip.avi,0,0\n'),
        ('no clip of class 2', lambda text: text + 'a.avi,2,0\n'),
        ('relative to', lambda text: text + 'a.avi,1,0\n'),
    ],
)
def test_files_of_folds_that_are_refused(
    message, change, ucf_folder, clips_csv
) -> None:
    clips_csv.write_text(change(clips_csv.read_text()))
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        folds.read_clips(clips_csv, ucf_folder)


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


@pytest.mark.parametrize('name', [*PRETRAINED, *STAGES, *OPTIONAL])
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
        pretraining(name, read_size('small'), CLIPS) for name in PRETRAINED
    )
    for cfg in others:
        assert {**cfg, 'model': None} == {**first, 'model': None}


@pytest.mark.parametrize('name', [*PRETRAINED, *STAGES])
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


def test_finetuning_keeps_the_released_recipe() -> None:
    full, numbers = load_config(FINETUNING), read_size('toy')
    cfg = finetuning('bimm', numbers, CLIPS, Path('a.pth'))
    allowed = {'blending', 'checkpoint', 'in_channels', 'num_classes'}
    for key in changed_keys(cfg.model, full.model):
        assert (allowed | ENCODER) & {*key.split('.')}
    assert cfg.model.cls_head.num_classes == 2
    assert cfg.optim_wrapper.paramwise_cfg == full.optim_wrapper.paramwise_cfg
    # The test clips are looked at once, and choose nothing.
    assert cfg.train_cfg.val_interval == cfg.train_cfg.max_epochs
    assert 'save_best' not in cfg.default_hooks.checkpoint
    scratch = finetuning('scratch', numbers, CLIPS)
    assert scratch.model.backbone.init_cfg is None
    changed = changed_keys(scratch.to_dict(), cfg.to_dict())
    assert [key for key in changed if not key.startswith('model.')] == [
        'optim_wrapper.paramwise_cfg.layer_decay'
    ]


def test_sizes_and_steps() -> None:
    numbers = read_size('small', {'pretrain.lr': 1e-3})
    assert numbers.pretrain.lr == 1e-3
    for name, options in (('huge', {}), ('small', {'pretrain.lrs': 1})):
        with pytest.raises(ValueError, match=r'no size|no .lrs'):
            read_size(name, options)
    recipe = dict(numbers.pretrain)
    # 96 clips 133 times are 199 full batches of 64; 20 epochs are 3980 steps.
    assert schedule(96, recipe) == (133, 20)
    # A warm-up of one epoch needs two steps.
    assert schedule(96, recipe | {'steps': 1}) == (2, 3)
    # A large set: 149 full batches are an epoch, 13 of them 1937 steps.
    assert schedule(9537, recipe | {'steps': 2000}) == (1, 13)
    # bimm@0.5 is half as long, its ventral stage too.
    assert ventral_of('bimm@0.5') == f'{ventral_of("bimm")}@0.5'
    for name in ('bimm@0.5', ventral_of('bimm@0.5')):
        cfg = pretraining(name, numbers, CLIPS)
        times = cfg.train_dataloader.dataset.dataset.times
        length = times * CLIPS.count // cfg.train_dataloader.batch_size
        assert length * cfg.train_cfg.max_epochs == pytest.approx(2000, abs=50)


# What a training tells of itself.
TRAINED = dict(steps=3, seconds_per_step=0.5)
TRAINED |= {'curves': {'loss': {'1': 1.0, '3': 0.5}}}
SIZES = dict(train=24, test=12)  # clips


def _give(home: Path, given: Run, **gave) -> None:
    """Pretend that a run is finished."""
    folder = home / given.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'weights.pth').touch()
    gave = {'device': 'CPU', 'revision': '0', **vars(given), **gave}
    (folder / 'result.json').write_text(json.dumps(gave))


def test_every_run_comes_once_and_after_the_one_that_it_needs(study) -> None:
    leaves = study.leaves(['scratch', 'videomae', 'bimm'], [0, 1], ['0', '1'])
    runs = study.left(leaves)
    for place, each in enumerate(runs):
        assert study.needs(each) in (None, *runs[:place])
    # Per seed and fold scratch 2, videomae 3, ventral stage and bimm 4.
    assert len(set(runs)) == len(runs) == 4 * 9


def test_what_is_finished_is_not_planned(study) -> None:
    leaves = study.leaves(['videomae'], [0], ['0'])
    pretrain, finetune, probe = study.left(leaves)
    _give(study.home, pretrain)
    assert study.left(leaves) == [finetune, probe]
    # The score is enough without the weights that it came from.
    _give(study.home, finetune)
    (study.folder(pretrain) / 'weights.pth').unlink()
    assert study.left(leaves) == [pretrain, probe]
    _give(study.home, probe)
    assert study.left(leaves) == []


def test_pretraining_on_all_clips_is_shared_by_folds(study) -> None:
    study.pretrain_on = 'all'
    leaves = study.leaves(['videomae'], [0], ['0', '1'])
    kinds = Counter(each.kind for each in study.left(leaves))
    assert kinds == {'pretrain': 1, 'finetune': 2, 'probe': 2}
    shared = Run('videomae', 0, 'all', 'pretrain')
    study.config(shared)
    assert len((study.folder(shared) / 'train.txt').open().readlines()) == 36


def test_runs_that_fail_are_named(study, monkeypatch) -> None:
    fail = [sys.executable, '-c', 'exit(3)']
    monkeypatch.setattr(run, 'command', lambda *_: fail)
    leaves = study.leaves(['scratch'], [0], ['0'])
    failed = run.run_all(study, leaves, end=np.inf)
    assert len(failed) == 2
    assert failed[0].endswith('finetune/log.txt: exit code 3')


def test_a_folder_holds_one_study(study) -> None:
    other = read_size('toy', {'pretrain.lr': 1.0})
    with pytest.raises(ValueError, match='other numbers'):
        Study(study.home, study.clips, study.videos, numbers=other)


def test_interval_is_the_papers() -> None:
    values = np.random.default_rng(0).normal(2, 5, 15)
    # Bouckaert and Frank (2004), equation 6, for 5 folds and 3 runs.
    variance = ((values - values.mean()) ** 2).sum() / 14
    reach = 2.144787 * np.sqrt((1 / 15 + 24 / 96) * variance)  # t, 14, 0.975
    assert report.interval(values.tolist(), 24 / 96) == pytest.approx(
        (values.mean() - reach, values.mean() + reach), rel=1e-6
    )
    plain = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert report.interval(values.tolist(), 0) == pytest.approx(tuple(plain))


@pytest.mark.parametrize('values', [[4.0], [4.0, 4.0], []])
def test_no_interval_without_spread(values) -> None:
    assert np.isnan(report.interval(values, 0.25)).all()


def test_tables_are_those_of_numpy(study, tmp_path) -> None:
    rng = np.random.default_rng(3)
    top1 = {
        (method, seed, fold): float(rng.uniform(20, 80))
        for method in ('scratch', 'videomae', 'bimm')
        for seed in (0, 1)
        for fold in '012'
    }
    for key, score in top1.items():
        if key != ('bimm', 1, '2'):  # not finished
            scores = [{'method': key[0], 'score': 'finetune', 'top1': score}]
            done = Run(*key, 'finetune')
            _give(study.home, done, scores=scores, **TRAINED, **SIZES)
    scores = report.scores_of(report.read_results([study.home]))
    table = report.accuracy_table(scores)
    means = [
        np.mean([top1['scratch', seed, fold] for fold in '012'])
        for seed in (0, 1)
    ]
    cell = f'{np.mean(means):.1f} ± {np.std(means, ddof=1):.1f} (6)'
    assert table.loc['scratch', 'finetune'] == cell
    differences = report.difference_table(scores).set_index('methods')
    names = 'videomae - scratch, bimm - scratch, bimm - videomae'
    assert list(differences.index) == names.split(', ')
    pairs = [(s, f) for s in (0, 1) for f in '012' if (s, f) != (1, '2')]
    values = [top1['bimm', s, f] - top1['videomae', s, f] for s, f in pairs]
    row = differences.loc['bimm - videomae']
    assert row.difference == pytest.approx(np.mean(values))
    assert (row.low, row.high) == report.interval(values, 12 / 24)
    assert (row.pairs, row.incomplete) == (5, 1)
    # A copy of the folder adds nothing, one of another study is refused.
    assert len(report.read_results([study.home] * 2)) == len(top1) - 1
    page = report.write_report([study.home], tmp_path / 'report').read_text()
    assert 'bimm - videomae' in page
    shared = json.loads((study.home / 'study.json').read_text())
    (tmp_path / 'study.json').write_text(json.dumps(shared | {'clips': ''}))
    with pytest.raises(ValueError, match='study with other clips'):
        report.read_results([study.home, tmp_path])


def test_a_report_before_anything_was_trained(study, tmp_path) -> None:
    scores = [{'method': 'scratch', 'score': 'knn', 'top1': 40.0}]
    probe = Run('scratch', 0, '0', 'probe')
    _give(study.home, probe, scores=scores, **SIZES)
    page = report.write_report([study.home], tmp_path / 'report').read_text()
    assert '40.0 (1)' in page


SHORT = {'pretrain.steps': 12, 'pretrain.epochs': 4}


@pytest.fixture
def real_flags(data_root, tmp_path) -> list[str]:
    """12 real clips of 3 classes, half of them tested."""
    videos = data_root / 'action_mini' / 'ut_interaction' / 'videos_sq'
    if not videos.is_dir():
        pytest.skip(f'no real clips at {videos}')
    lines = ['path,label,fold']
    for label, name in enumerate(('hugging', 'kicking', 'pointing')):
        for index, clip in enumerate(sorted((videos / name).glob('*'))[:4]):
            lines.append(f'{name}/{clip.name},{label},{index % 2}')
    (tmp_path / 'clips.csv').write_text('\n'.join(lines))
    return [
        str(tmp_path / 'clips.csv'),
        f'--videos={videos}',
        f'--home={tmp_path / "home"}',
        *('--size', 'toy', '--methods', 'bimm', 'scratch'),
        *('--seeds', '0', '--folds', '0'),
        *('--set', *(f'{key}={value}' for key, value in SHORT.items())),
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_real_clips_to_the_tables(
    real_flags, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    home = tmp_path / 'home'
    # No run takes a second.
    assert run.main([*real_flags, '--minutes', '0.02']) == 0
    assert '6 runs to do' in capsys.readouterr().out
    assert not list(home.rglob('result.json'))
    # Another machine did two of them.
    for method, kind, names in (
        ('scratch', 'finetune', ['finetune']),
        ('bimm', 'probe', ['linear', 'knn']),
    ):
        done = Run(method, 0, '0', kind)
        scores = [dict(method=method, score=n, top1=50.0) for n in names]
        _give(home, done, scores=scores, **TRAINED, train=6, test=6)

    # SIGTERM in the middle of a training, and on in a folder that was moved.
    stage = home / 'pretrain_ventral_in1k/seed0-fold0/ventral'
    _when(
        (stage / 'last_checkpoint').is_file,
        partial(os.kill, os.getpid(), signal.SIGTERM),
    )
    run.main(real_flags)
    assert not (stage / 'result.json').is_file()
    moved = home.rename(tmp_path / 'moved')
    home, stage = moved, moved / stage.relative_to(home)
    real_flags[2] = f'--home={home}'
    # As if another call worked on this run until another one is finished.
    lock = FileLock(stage / '.lock', thread_local=False)
    lock.acquire()
    other = home / 'scratch/seed0-fold0/probe/result.json'
    _when(other.is_file, lock.release)
    assert run.main(real_flags) == 0
    times = [path.stat().st_mtime for path in (other, stage / 'result.json')]
    assert times[0] < times[1]
    assert 'resumed epoch: ' in (stage / 'log.txt').read_text()
    assert '0 runs to do' in capsys.readouterr().out
    gave = json.loads((stage / 'result.json').read_text())
    numbers = read_size('toy', SHORT).pretrain
    assert gave['steps'] == max(map(int, gave['curves']['loss']))
    assert gave['steps'] == pytest.approx(numbers.steps, abs=numbers.epochs)
    # Before the first epoch and after each; it may have been stopped between
    # saving and measuring.
    points = len(gave['curves']['V4/ratio'])
    assert points in (numbers.epochs, numbers.epochs + 1)
    assert not list(stage.glob('epoch_*.pth'))

    report.main([str(home)])
    scores = pd.read_csv(home / 'scores.csv')
    assert scores.top1.between(0, 100).all()
    # Three scores of each method, two of both trivial features, one more.
    assert {*scores.method} == {'bimm', 'scratch', *report.TRIVIAL}
    assert len(scores) == 3 * 2 + 2 * 2 + 1
    page = (home / 'report.html').read_text()
    assert 'bimm - scratch' in page
    # Three areas in both stages, and the finetuning of both methods.
    assert page.count('<svg') == 3


def _when(happened, then) -> None:
    """Do something in a thread once something else has happened."""

    def wait() -> None:
        end = time.monotonic() + 600
        while not happened() and time.monotonic() < end:
            time.sleep(0.02)
        then()

    threading.Thread(target=wait, daemon=True).start()
