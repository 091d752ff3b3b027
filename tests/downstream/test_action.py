"""Action recognition: numbers of classes, and toy runs on real clips."""

from __future__ import annotations

import json
import math
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from bimm_mm.registry import DATASETS, HOOKS, MODELS

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs' / 'downstream'
NUMBER = {'k400': 400, 'ssv2': 174, 'ucf101': 101, 'hmdb51': 51}
CASES = [(name, size) for name in NUMBER for size in ('', 'large_')]
FRAMES, SIDE, CLASSES = 8, 64, 6


def _path(name: str, size: str = '') -> Path:
    return CONFIGS / name / f'finetune_{size}{name}.py'


def _transforms(steps: list[dict]) -> Iterator[dict]:
    """All transforms, nested ones included."""
    for step in steps:
        yield step
        yield from _transforms(step.get('transforms', []))


def _datasets(cfg: Config) -> dict[str, dict]:
    """The configs of mmaction2's datasets."""
    return {
        'train': cfg.train_dataloader.dataset.dataset,
        'val': cfg.val_dataloader.dataset,
        'test': cfg.test_dataloader.dataset,
    }


@pytest.fixture(scope='module')
def clips(data_root: Path) -> Path:
    """120 clips of 6 classes, with their lists."""
    return data_root / 'action_mini' / 'ut_interaction'


@pytest.fixture
def small(clips: Path) -> Config:
    """The config of HMDB51 over clips of 6 classes, with a tiny model."""
    cfg = Config.fromfile(_path('hmdb51'))
    init_default_scope(cfg.default_scope)
    dataset = _datasets(cfg)['train']
    dataset.ann_file = str(clips / 'train.txt')
    dataset.data_prefix.video = str(clips / 'videos_sq')
    cfg.model.backbone.arch = dict(embed_dims=24, depth=1, num_heads=1)
    cfg.model.cls_head.in_channels = 24
    return cfg


def _check_classes(cfg: Config) -> None:
    """What the config's hook does before training."""
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    runner = SimpleNamespace(
        model=MODELS.build(cfg.model),
        train_dataloader=SimpleNamespace(dataset=dataset),
        val_loop=None,
    )
    (hook,) = [h for h in cfg.custom_hooks if 'LabelCheck' in h.type]
    HOOKS.build(hook).before_train(runner)


def _set_classes(cfg: Config, *, head: int, blending: int) -> Config:
    cfg.model.cls_head.num_classes = head
    for augment in cfg.model.data_preprocessor.blending.augments:
        augment.num_classes = blending
    return cfg


def test_number_of_classes_is_right_in_all_places(small: Config) -> None:
    _check_classes(_set_classes(small, head=6, blending=6))


@pytest.mark.parametrize(
    ('head', 'blending', 'words'),
    [
        (51, 6, r'cls_head\.num_classes of the model is 51'),
        (6, 51, r'blending\.MixupBlending\.num_classes .* is 51'),
        (5, 5, r'cls_head\.num_classes of the model is 5'),
    ],
)
def test_other_number_of_classes_in_one_place_is_named(
    small: Config, head: int, blending: int, words: str
) -> None:
    cfg = _set_classes(small, head=head, blending=blending)
    with pytest.raises(ValueError, match=words):
        _check_classes(cfg)


@pytest.mark.parametrize(('name', 'size'), CASES)
def test_number_of_classes_is_the_same_in_all_places(
    name: str, size: str
) -> None:
    cfg = Config.fromfile(_path(name, size))
    augments = cfg.model.data_preprocessor.blending.augments
    numbers = [augment.num_classes for augment in augments]
    assert [cfg.model.cls_head.num_classes, *numbers] == [NUMBER[name]] * 3


@pytest.fixture
def shrink(
    clips: Path, toy_arch: dict, tmp_path: Path
) -> Callable[[Config], None]:
    """Makes a full-size config one that trains for four steps."""
    lines = (clips / 'all.txt').read_text().splitlines()
    by_class = sorted(lines, key=lambda line: line.split()[1])
    lists = {'train': by_class[::15], 'val': by_class[1::30]}
    lists['test'] = lists['val']
    for split, some in lists.items():
        (tmp_path / f'{split}.txt').write_text('\n'.join(some) + '\n')

    def change(cfg: Config) -> None:
        cfg.model.backbone.update(toy_arch, num_frames=FRAMES)
        cfg.model.cls_head.update(in_channels=192, num_classes=CLASSES)
        for blending in cfg.model.data_preprocessor.blending.augments:
            blending.num_classes = CLASSES
        for split, dataset in _datasets(cfg).items():
            dataset.ann_file = str(tmp_path / f'{split}.txt')
            dataset.data_prefix.video = str(clips / 'videos_sq')
            for step in _transforms(dataset.pipeline):
                _shrink_transform(step)
            loader = cfg[f'{split}_dataloader']
            loader.update(num_workers=0, persistent_workers=False)
        cfg.train_dataloader.batch_size = 2
        cfg.train_cfg.max_epochs = 2
        warm_up, cosine = cfg.param_scheduler
        warm_up.end = cosine.begin = 1
        cfg.default_hooks.logger.interval = 1

    return change


def _shrink_transform(step: dict) -> None:
    if 'clip_len' in step:
        step.clip_len = FRAMES
    if 'crop_size' in step:
        step.crop_size = SIDE
    if step.type == 'Resize':
        step.scale = tuple(min(side, SIDE) for side in step.scale)


def _losses(folder: Path) -> list[float]:
    """Losses of all steps, of a training that loaded the dorsal encoder."""
    (log,) = folder.glob('*/*.log')
    assert re.search(
        r'encoder: (\d+) of \1 tensors from .*pth \(dorsal\.backbone\.\*',
        log.read_text(),
    )
    (path,) = folder.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    validated = [line['acc/top1'] for line in lines if 'acc/top1' in line]
    assert len(validated) == 2
    losses = [line['loss_cls'] for line in lines if 'loss_cls' in line]
    # The head starts near zero: at first all classes are equally likely.
    assert losses[0] == pytest.approx(math.log(CLASSES), abs=0.01)
    return losses


def _check_result(path: Path) -> None:
    result = json.loads(path.read_text())
    assert set(result) == {'acc/top1', 'acc/top5', 'acc/mean1'}
    assert all(0 <= value <= 1 for value in result.values())
    assert result['acc/top5'] >= result['acc/top1']


@pytest.mark.slow
def test_uniform_sampling_trains_and_tests(
    shrink: Callable[[Config], None],
    toy_config: Callable[..., Path],
    run_script: Callable[..., subprocess.CompletedProcess],
    tmp_path: Path,
) -> None:
    config = toy_config(_path('ssv2'), shrink)
    run_script('train.py', config, '--work-dir=work', '--amp')
    work = tmp_path / 'work'
    assert len(_losses(work)) == 8
    last = work / 'epoch_2.pth'
    run_script('test.py', config, last, '--out=result.json')
    _check_result(tmp_path / 'result.json')


def _launch(script: str, *arguments: object, cwd: Path) -> str:
    """Run a launcher of tools/ without a GPU; it must succeed."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    done = subprocess.run(
        ['bash', ROOT / 'tools' / script, *map(str, arguments)],
        cwd=cwd,
        env={
            **os.environ,
            'VIRTUAL_ENV': sys.prefix,
            'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
            'OMP_NUM_THREADS': '1',
            'CUDA_VISIBLE_DEVICES': '-1',
            'PORT': str(port),
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


@pytest.mark.slow
def test_dense_sampling_trains_and_tests_in_two_processes(
    shrink: Callable[[Config], None],
    toy_config: Callable[..., Path],
    tmp_path: Path,
) -> None:
    def change(cfg: Config) -> None:
        shrink(cfg)
        # In float32 the first small steps are seen in the loss.
        cfg.optim_wrapper.type = 'OptimWrapper'
        del cfg.optim_wrapper['dtype']

    config = toy_config(_path('ucf101'), change)
    train = ('dist_train.sh', config, 2, '--work-dir=work')
    said = _launch(*train, cwd=tmp_path)
    assert 'total batch size 4 = 2 process(es) x 2' in said
    work = tmp_path / 'work'
    losses = _losses(work)
    assert len(losses) == len(set(losses)) == 4
    last = work / 'epoch_2.pth'
    test = ('dist_test.sh', config, last, 2, '--out=result.json')
    _launch(*test, cwd=tmp_path)
    _check_result(tmp_path / 'result.json')
