"""The mini study: folds, small configs, order of runs, interval and tables."""

from __future__ import annotations

import copy
import json
import os
import signal
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mmengine.registry import init_default_scope
from scipy import stats

from bimm_mm.apis import load_config
from bimm_mm.registry import MODELS
from projects.mini_study import folds, methods, report, run
from projects.mini_study.methods import METHODS, OPTIONAL, released, ventral_of
from projects.mini_study.plan import Run, Study, scaled_steps, timed_runs
from projects.mini_study.scale_down import (
    Clips,
    finetuning,
    pretraining,
    read_size,
    schedule,
)

PRETRAINED = [name for name, config in METHODS.items() if config]
STAGES = sorted({s for m in (*METHODS, *OPTIONAL) if (s := ventral_of(m))})
GROUP = r'_(g\d+)_'


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
def lists(ucf_folder, tmp_path) -> Path:
    """Three folds of these clips."""
    out = tmp_path / 'lists'
    flags = ['--folds', '3', '--group', GROUP]
    folds.main([str(ucf_folder), '--out', str(out), *flags])
    return out


@pytest.fixture
def study(ucf_folder, lists, tmp_path) -> Study:
    """A study of these clips, of which nothing was run."""
    home = tmp_path / 'home'
    return Study(home, ucf_folder, lists, numbers=read_size('toy'))


def test_folds_keep_groups_together_and_test_every_clip_once(
    ucf_folder, lists
) -> None:
    tested = Counter()
    for train, test in folds.read_folds(lists, ucf_folder).values():
        groups = [
            {folds.group_of(clip, GROUP) for clip in half}
            for half in (train, test)
        ]
        assert not groups[0] & groups[1]
        # Stratified: as many of either class.
        assert len(set(Counter(test.values()).values())) == 1
        tested.update(test.keys())
    assert set(tested.values()) == {1}
    assert sum(tested.values()) == 36


def test_the_same_seed_gives_the_same_folds(ucf_folder) -> None:
    clips = folds.find_clips(ucf_folder)
    assert list(clips.values()) == [0] * 18 + [1] * 18
    first = folds.make_folds(clips, seed=0)
    assert len(first) == 5
    assert first == folds.make_folds(clips, seed=0)
    assert first != folds.make_folds(clips, seed=1)


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--group', r'_(s\d+)_'], 'does not match Archery/'),
        (['--folds', '7', '--group', GROUP], 'choose 2 to 6'),
    ],
)
def test_folds_that_cannot_be_made(flags, message, ucf_folder, capsys) -> None:
    out = ucf_folder / 'lists'
    with pytest.raises(SystemExit):
        folds.main([str(ucf_folder), '--out', str(out), *flags])
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.filterwarnings('ignore:The least populated class')
def test_a_class_of_one_group_cannot_be_tested() -> None:
    clips = {f'a/v_g{n}_c0.mp4': 0 for n in range(4)} | {'b/v_g9_c0.mp4': 1}
    with pytest.raises(ValueError, match='no clip of class 1 to train on'):
        folds.make_folds(clips, folds=2, group=GROUP)


def test_lists_that_contradict_each_other(ucf_folder, lists) -> None:
    first = lists / 'fold0_val.txt'
    text = first.read_text()
    trained, *_ = (lists / 'fold0_train.txt').read_text().splitlines()
    for message, line in (
        ('trains on', trained),
        ('not "path label"', 'Archery/v_Archery_g01_c01.avi'),
        ('not of the same', 'Archery/another.avi 0'),
    ):
        first.write_text(f'{text}{line}\n')
        with pytest.raises(ValueError, match=message):
            folds.read_folds(lists, ucf_folder)
    first.write_text(text)
    with pytest.raises(FileNotFoundError, match='relative to'):
        folds.read_folds(lists, lists)


def _differences(small, full, path=()):
    """Paths of all leaves that differ."""
    if isinstance(small, dict) and isinstance(full, dict):
        for key in sorted({*small, *full}):
            yield from _differences(
                small.get(key), full.get(key), (*path, key)
            )
    elif isinstance(small, list | tuple) and len(small) == len(full or ()):
        for index, pair in enumerate(zip(small, full, strict=True)):
            yield from _differences(*pair, (*path, index))
    elif small != full:
        yield path


ENCODER = {'arch', 'img_size', 'patch_size', 'num_frames'}


def _is_size(path) -> bool:
    """Whether a field of the model may differ from the released one."""
    if 'backbone' in path:
        return bool(ENCODER & set(path))
    return (
        path[-1] == 'ventral_checkpoint'
        or path[-2:] == ('target', 'source')
        or (
            path[-2] == 'decoder' and path[-1] in ('decoder_dims', 'num_heads')
        )
    )


def _clips(study) -> Clips:
    lists = study.home / 'lists'
    return Clips(study.videos, lists / '0_train.txt', lists / '0_test.txt')


@pytest.mark.parametrize('name', [*PRETRAINED, *STAGES, *OPTIONAL])
def test_only_sizes_differ_from_the_released_config(
    name, study, monkeypatch
) -> None:
    monkeypatch.delenv('BIMM_CONTOURS', raising=False)
    full, numbers = released(name), read_size('small')
    cfg = pretraining(name, numbers, _clips(study), seed=0)
    changed = list(_differences(cfg.model, full.model))
    assert changed  # it is smaller
    assert [path for path in changed if not _is_size(path)] == []
    optimizer = copy.deepcopy(full.optim_wrapper)
    optimizer.optimizer.lr = numbers.pretrain.lr
    assert cfg.optim_wrapper == optimizer
    for key in ('custom_imports', 'default_scope', 'env_cfg', 'log_level'):
        assert cfg[key] == full[key]
    assert cfg.custom_hooks[: len(full.custom_hooks)] == full.custom_hooks
    schedule = list(_differences(cfg.param_scheduler, full.param_scheduler))
    assert {path[-1] for path in schedule} <= {'begin', 'end'}


def test_methods_differ_in_their_model_alone(study) -> None:
    configs = [
        pretraining(name, read_size('small'), _clips(study), seed=0)
        for name in PRETRAINED
    ]
    keys = set(configs[0]) - {'model'}
    for cfg in configs[1:]:
        assert {k: cfg[k] for k in keys} == {k: configs[0][k] for k in keys}


@pytest.mark.parametrize('name', [*PRETRAINED, *STAGES])
def test_every_method_can_be_built(name, study) -> None:
    cfg = pretraining(name, read_size('toy'), _clips(study), seed=0)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    branch = getattr(model, 'dorsal', model)
    assert branch.backbone.grid() == (
        (4, 4, 4) if name in METHODS else (1, 4, 4)
    )
    # Half of the encoder's width and heads, as 384 and 6 of ViT-B's 768.
    for area in cfg.model.get('dorsal', cfg.model).areas:
        assert (area.decoder.decoder_dims, area.decoder.num_heads) == (24, 1)


def test_small_videomae_is_the_released_vit_s(study) -> None:
    cfg = pretraining('videomae', read_size('small'), _clips(study), seed=0)
    init_default_scope(cfg.default_scope)
    numbers = sum(p.numel() for p in MODELS.build(cfg.model).parameters())
    # As configs/_base_/models/videomae_small.py; no input size is in it.
    assert numbers == 24_029_376


def test_finetuning_keeps_the_released_recipe(study) -> None:
    full, numbers = load_config(methods.FINETUNING), read_size('toy')
    cfg = finetuning(
        'bimm', numbers, _clips(study), seed=0, checkpoint=Path('a.pth')
    )
    allowed = {'blending', 'checkpoint', 'in_channels', 'num_classes'}
    changed = list(_differences(cfg.model, full.model))
    assert [
        path for path in changed if not (allowed | ENCODER) & {*path}
    ] == []
    assert cfg.model.cls_head.num_classes == 2
    assert cfg.optim_wrapper.paramwise_cfg == full.optim_wrapper.paramwise_cfg
    # The test clips are looked at once, and choose nothing.
    assert cfg.train_cfg.val_interval == cfg.train_cfg.max_epochs
    assert 'save_best' not in cfg.default_hooks.checkpoint
    scratch = finetuning('scratch', numbers, _clips(study), seed=0)
    assert scratch.model.backbone.init_cfg is None
    assert [
        path
        for path in _differences(scratch.to_dict(), cfg.to_dict())
        if path[0] != 'model'
    ] == [('optim_wrapper', 'paramwise_cfg', 'layer_decay')]


def test_sizes_and_steps(study) -> None:
    numbers = read_size('small', {'pretrain.lr': 1e-3})
    assert numbers.pretrain.lr == 1e-3
    for name, options in (('huge', {}), ('small', {'pretrain.lrs': 1})):
        with pytest.raises(ValueError, match=r'no size|no .lrs'):
            read_size(name, options)
    # 96 clips 133 times are 199 full batches of 64; 20 epochs are 3980 steps.
    assert schedule(96, numbers.pretrain, 4000) == (133, 20)
    # A warm-up of one epoch needs two steps.
    assert schedule(96, numbers.pretrain, 1) == (2, 3)
    # A large set: 149 full batches are an epoch, 13 of them 1937 steps.
    assert schedule(9537, numbers.pretrain, 2000) == (1, 13)


CLIPS = Run('clips', 'bimm', 0, '0', 'pretrain')
TIMED = replace(CLIPS, budget='time')


def _give(study: Study, given: Run, **gave) -> None:
    """Pretend that a run is finished."""
    folder = study.folder(given)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'weights.pth').touch()
    gave = {'device': 'CPU', 'jobs': 1, **vars(given), **gave}
    (folder / 'result.json').write_text(json.dumps(gave))


def test_every_run_comes_once_and_after_those_that_it_needs(study) -> None:
    names = ['scratch', 'videomae', 'bimm']
    for budgets in (['clips'], ['time'], ['clips', 'time']):
        leaves = study.leaves(names, [0, 1], ['0', '1'], budgets)
        runs = study.left(leaves)
        for place, each in enumerate(runs):
            assert set(study.needs(each)) <= set(runs[:place])
        assert len(set(runs)) == len(runs)
        # trivial per fold; per seed and fold scratch 2, videomae 3, ventral
        # stage and bimm 4; in the budget of time, bimm's pretraining for its
        # speed and 4 more.
        each = {'clips': 9, 'time': 11, 'clips-time': 13}['-'.join(budgets)]
        assert len(runs) == 2 + 4 * each
        timed = {r.method for r in leaves if r.budget == 'time'}
        assert timed == ({'bimm'} if 'time' in budgets else set())


def test_what_is_finished_is_not_planned(study) -> None:
    leaves = study.leaves(['videomae'], [0], ['0'], ['clips'])
    trivial, pretrain, finetune, probe = study.left(leaves)
    _give(study, pretrain)
    assert study.left(leaves) == [trivial, finetune, probe]
    # The score is enough without the weights that it came from.
    _give(study, finetune)
    (study.folder(pretrain) / 'weights.pth').unlink()
    assert study.left(leaves) == [trivial, pretrain, probe]
    _give(study, probe)
    assert study.left(leaves) == [trivial]


def test_pretraining_on_all_clips_is_shared_by_folds(study) -> None:
    study.pretrain_on = 'all'
    leaves = study.leaves(['videomae'], [0], ['0', '1'], ['clips'])
    kinds = Counter(each.kind for each in study.left(leaves))
    assert kinds == {'pretrain': 1, 'finetune': 2, 'probe': 2, 'trivial': 2}
    shared = study.config(replace(CLIPS, method='videomae', fold='all'))
    videos = shared.train_dataloader.dataset.dataset.dataset.dataset
    assert len(folds.read_list(Path(videos.ann_file))) == 36


def test_both_stages_together_take_the_references_time(study) -> None:
    # 500 s, and 1000 s with a ventral stage of 100 s before.
    speeds = [(4000, 1 / 8), (4000, 1 / 4), (4000, 1 / 40)]
    gave = [{'steps': n, 'seconds_per_step': s} for n, s in speeds]
    assert scaled_steps([gave[0], gave[0]], 1) == 4000
    joint, ventral = scaled_steps(gave, 1), scaled_steps(gave, -1)
    assert 499 < joint / 4 + ventral / 40 <= 500
    assert joint == ventral
    for given, each in zip(timed_runs(TIMED), gave, strict=True):
        _give(study, given, **each)
    cfg = study.config(TIMED)
    batch = cfg.train_dataloader
    length = batch.dataset.dataset.times * 24 // batch.batch_size
    assert length * cfg.train_cfg.max_epochs == pytest.approx(joint, abs=9)
    stage = study.needs(TIMED)[-1]
    assert study.config(stage).model.type == 'bimm_mm.MaskedBranch'
    # Times of other circumstances are not comparable.
    _give(study, timed_runs(TIMED)[0], **gave[0], jobs=2)
    with pytest.raises(ValueError, match='run them alike'):
        study.config(TIMED)


def test_a_folder_holds_one_study(study, ucf_folder, lists) -> None:
    other = read_size('toy', {'pretrain.lr': 1.0})
    with pytest.raises(ValueError, match='other numbers'):
        Study(study.home, ucf_folder, lists, numbers=other)


def test_interval_is_the_papers() -> None:
    values = np.random.default_rng(0).normal(2, 5, 15)
    # Bouckaert and Frank (2004), equation 6, for 5 folds and 3 runs.
    variance = ((values - values.mean()) ** 2).sum() / 14
    reach = 2.144787 * np.sqrt((1 / 15 + 24 / 96) * variance)  # t, 14, 0.975
    assert report.interval(values.tolist(), 24 / 96) == pytest.approx(
        (values.mean() - reach, values.mean() + reach), rel=1e-6
    )


def test_without_correction_it_is_scipys_and_else_wider() -> None:
    values = np.random.default_rng(1).normal(0, 5, 15)
    plain = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert report.interval(values.tolist(), 0) == pytest.approx(tuple(plain))
    low, high = report.interval(values.tolist(), 0.25)
    # sqrt((1 / 15 + 1 / 4) / (1 / 15))
    assert high - low == pytest.approx(
        (plain.high - plain.low) * np.sqrt(4.75)
    )


def test_simulated_differences_are_covered_and_found() -> None:
    rng = np.random.default_rng(2)
    plain, corrected, found = 0, 0, 0
    for _ in range(400):
        # Three seeds on the same folds: 0.2 of the variance is shared.
        shared = rng.normal(0, np.sqrt(0.2))
        values = shared + rng.normal(0, np.sqrt(0.8), 15)
        low, high = report.interval(values.tolist(), 0)
        plain += low <= 0 <= high
        low, high = report.interval(values.tolist(), 0.25)
        corrected += low <= 0 <= high
        found += report.interval((values + 3).tolist(), 0.25)[0] > 0
    # With this correlation, 1 / 5, the correction is the right one.
    assert plain < 0.75 * 400
    assert corrected > 0.93 * 400
    assert found > 0.95 * 400


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
    given = dict(train=24, test=12, steps=3, seconds_per_step=0.5)
    given |= {'curves': {'loss': {'1': 1.0, '3': 0.5}}, 'revision': '0'}
    for key, score in top1.items():
        if key != ('bimm', 1, '2'):  # not finished
            made = Run('clips', *key, 'finetune')
            _give(study, made, scores={'finetune': score}, **given)
    scores = report.scores_of(report.read_results([study.home]))
    table = report.accuracy_table(scores)
    means = [
        np.mean([top1['scratch', seed, fold] for fold in '012'])
        for seed in (0, 1)
    ]
    cell = f'{np.mean(means):.1f} ± {np.std(means, ddof=1):.1f} (6)'
    assert table.loc['scratch', 'finetune, same clips'] == cell
    differences = report.difference_table(scores).set_index('methods')
    names = 'bimm - videomae, videomae - scratch, bimm - scratch'
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
    (tmp_path / 'study.json').write_text(json.dumps(shared | {'lists': ''}))
    with pytest.raises(ValueError, match='study with other lists'):
        report.read_results([study.home, tmp_path])


@pytest.fixture
def real_flags(data_root, tmp_path) -> list[str]:
    """12 real clips of 3 classes, every other clip in either fold's test."""
    videos = data_root / 'action_mini' / 'ut_interaction' / 'videos_sq'
    if not videos.is_dir():
        pytest.skip(f'no real clips at {videos}')
    halves: list[dict[str, int]] = [{}, {}]
    for label, name in enumerate(('hugging', 'kicking', 'pointing')):
        for index, clip in enumerate(sorted((videos / name).glob('*'))[:4]):
            halves[index % 2][f'{name}/{clip.name}'] = label
    for number in range(2):
        for part, half in (('train', 1 - number), ('val', number)):
            path = tmp_path / 'lists' / f'fold{number}_{part}.txt'
            folds.write_list(halves[half], path)
    return [
        f'--videos={videos}',
        f'--lists={tmp_path / "lists"}',
        f'--home={tmp_path / "home"}',
        *('--size', 'toy', '--methods', 'scratch', 'bimm'),
        *('--seeds', '0', '--folds', '0'),
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_real_clips_to_the_tables(
    real_flags, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    home = tmp_path / 'home'
    # No run takes three seconds.
    assert run.main([*real_flags, '--minutes', '0.05']) == 0
    assert '7 runs to do' in capsys.readouterr().out
    assert not list(home.rglob('result.json'))

    # SIGTERM in the middle of a training, and on in a folder that was moved.
    stage = home / 'clips/pretrain_ventral_in1k/seed0-fold0/ventral'
    _terminate_when((stage / 'last_checkpoint').is_file)
    run.main(real_flags)
    assert not (stage / 'result.json').is_file()
    moved = home.rename(tmp_path / 'moved')
    home, stage = moved, moved / stage.relative_to(home)
    real_flags[2] = f'--home={home}'
    assert run.main([*real_flags, '--jobs', '2']) == 0
    assert 'resumed epoch: ' in (stage / 'log.txt').read_text()
    assert '0 runs to do' in capsys.readouterr().out
    gave = json.loads((stage / 'result.json').read_text())
    numbers = read_size('toy').pretrain
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
    trivial = {'middle-frame', 'motion-energy', 'most frequent class'}
    assert {*scores.method} == {'bimm', 'scratch', *trivial}
    assert len(scores) == 3 * 2 + 2 * 2 + 1
    assert 'bimm - scratch' in (home / 'report.md').read_text()
    assert (home / 'curves.png').stat().st_size > 1000


def _terminate_when(happened) -> None:
    """Have this process told to stop once something has happened."""

    def wait() -> None:
        end = time.monotonic() + 600
        while not happened() and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
