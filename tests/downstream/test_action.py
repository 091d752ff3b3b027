"""Action recognition: what is loaded, classes, and toy runs on real clips."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from bimm_mm.apis.curves import read_scalars
from bimm_mm.datasets import SampleKey
from bimm_mm.registry import DATASETS, HOOKS, MODELS
from tests.processes import Started, call_script
from tests.toy_configs import transforms

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs' / 'downstream'
# Views of a test video: clips x crops of Table 9, uniform and dense.
VIEWS = {'ssv2': 2 * 3, 'ucf101': 5 * 3}
FRAMES, SIDE, CLASSES = 8, 64, 6


def _path(name: str) -> Path:
    return CONFIGS / name / f'finetune_{name}.py'


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
def load(full_config, clips: Path) -> Callable[[str], Config]:
    """A config over real clips that are no squares."""

    def load_config(name: str) -> Config:
        cfg = full_config(_path(name))
        for dataset in _datasets(cfg).values():
            dataset.ann_file = str(clips / 'val.txt')
            dataset.data_prefix.video = str(clips / 'videos')
        return cfg

    return load_config


@pytest.mark.parametrize('name', VIEWS)
def test_a_video_gives_two_training_clips_and_the_views_of_table_9(load, name):
    cfg = load(name)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    for index in range(3):
        first, second = dataset[SampleKey(index, 0, 0)]
        assert first['inputs'].shape == (1, 3, 16, 224, 224)
        assert not torch.equal(first['inputs'], second['inputs'])
        labels = [s['data_samples'].gt_label.item() for s in (first, second)]
        assert labels == [dataset.get_data_info(index)['label']] * 2
    views = DATASETS.build(cfg.test_dataloader.dataset)[0]['inputs']
    assert views.shape == (VIEWS[name], 3, 16, 224, 224)
    assert views.dtype == torch.uint8
    assert len({view.numpy().tobytes() for view in views}) == VIEWS[name]
    one = DATASETS.build(cfg.val_dataloader.dataset)[0]['inputs']
    assert one.shape == (1, 3, 16, 224, 224)


def test_corrupt_video_stops_the_evaluation_by_name(load, tmp_path):
    (tmp_path / 'bad.mp4').write_bytes(b'garbage' * 100)
    (tmp_path / 'list.txt').write_text('bad.mp4 0\n')
    cfg = load('ucf101')
    for split in ('val', 'test'):
        config = _datasets(cfg)[split]
        config.ann_file = str(tmp_path / 'list.txt')
        config.data_prefix.video = str(tmp_path)
        loader = torch.utils.data.DataLoader(
            DATASETS.build(config), batch_size=None, num_workers=1
        )
        with pytest.raises(RuntimeError, match=r'bad\.mp4 cannot be decoded'):
            next(iter(loader))


@pytest.fixture
def small(full_config, clips: Path) -> Config:
    """The config of HMDB51 over clips of 6 classes, with a tiny model."""
    cfg = full_config(_path('hmdb51'))
    dataset = _datasets(cfg)['train']
    dataset.ann_file = str(clips / 'train.txt')
    dataset.data_prefix.video = str(clips / 'videos_sq')
    cfg.model.backbone.arch = dict(embed_dims=24, depth=1, num_heads=1)
    cfg.model.cls_head.in_channels = 24
    return cfg


def test_mixing_other_numbers_of_classes_is_told_before_training(small):
    small.model.cls_head.num_classes = CLASSES
    dataset = DATASETS.build(small.train_dataloader.dataset)
    runner = SimpleNamespace(
        model=MODELS.build(small.model),
        train_dataloader=SimpleNamespace(dataset=dataset),
        val_loop=None,
    )
    (hook,) = [h for h in small.custom_hooks if 'LabelCheck' in h.type]
    words = r'blending\.MixupBlending\.num_classes .* is 51'
    with pytest.raises(ValueError, match=words):
        HOOKS.build(hook).before_train(runner)


@pytest.fixture
def shrink(clips, toy_arch, tmp_path) -> Callable[[Config], None]:
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
            for step in transforms(dataset.pipeline):
                small = dict(clip_len=FRAMES, crop_size=SIDE)
                step.update({k: v for k, v in small.items() if k in step})
                if step.type == 'Resize':
                    step.scale = tuple(min(side, SIDE) for side in step.scale)
        cfg.train_dataloader.batch_size = 2
        cfg.train_cfg.max_epochs = 2
        warm_up, cosine = cfg.param_scheduler
        warm_up.end = cosine.begin = 1

    return change


def _losses(folder: Path, log: str) -> list[float]:
    """Losses of all steps, of a training that loaded the dorsal encoder."""
    assert re.search(
        r'blocks: (\d+) of \1 tensors from .*pth \(dorsal\.backbone\.\*', log
    )
    logged = read_scalars(folder)
    assert len(logged['acc/top1']) == 2
    losses = list(logged['loss_cls'].values())
    # The head starts near zero: at first all classes are equally likely.
    assert losses[0] == pytest.approx(math.log(CLASSES), abs=0.01)
    return losses


def _check_result(result: dict[str, float]) -> None:
    assert set(result) == {'acc/top1', 'acc/top5', 'acc/mean1'}
    assert all(0 <= value <= 1 for value in result.values())
    assert result['acc/top5'] >= result['acc/top1']


@pytest.mark.slow
def test_dense_sampling_trains_and_tests_in_two_processes(
    shrink, toy_config, tmp_path
):
    def change(cfg: Config) -> None:
        shrink(cfg)
        # In float32 the first small steps are seen in the loss.
        cfg.optim_wrapper.type = 'OptimWrapper'
        del cfg.optim_wrapper['dtype']

    def run(script: str, *arguments: object) -> str:
        given = (script, config, *arguments, '--launcher=pytorch')
        log = tmp_path / f'{script}.log'
        two = Started(call_script, tmp_path, *given, log=log, ranks=2)
        assert two.wait() == [0, 0], two.said
        return two.said

    config = toy_config(_path('ucf101'), change)
    said = run('train.py', '--work-dir=work')
    assert 'total batch size 4 = 2 process(es) x 2' in said
    work = tmp_path / 'work'
    losses = _losses(work, said)
    assert len(losses) == len(set(losses)) == 4
    run('test.py', work / 'epoch_2.pth', '--out=result.json')
    _check_result(json.loads((tmp_path / 'result.json').read_text()))
