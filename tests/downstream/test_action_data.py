"""What the loaders of the four action recognition data sets give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from bimm_mm.datasets import SampleKey
from bimm_mm.registry import DATASETS, TRANSFORMS

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'downstream'
# Views of a test video: clips x crops of Table 9.
VIEWS = {'k400': 5 * 3, 'ssv2': 2 * 3, 'ucf101': 5 * 3, 'hmdb51': 10 * 3}
CASES = [(name, size) for name in VIEWS for size in ('', 'large_')]
SAMPLERS = ('SampleFrames', 'UniformSample')


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
def load(clips: Path) -> Callable[[str, str], Config]:
    """A config over real clips that are no squares."""

    def load_config(name: str, size: str = '') -> Config:
        cfg = Config.fromfile(_path(name, size))
        init_default_scope(cfg.default_scope)
        for dataset in _datasets(cfg).values():
            dataset.ann_file = str(clips / 'val.txt')
            dataset.data_prefix.video = str(clips / 'videos')
        return cfg

    return load_config


@pytest.mark.parametrize(('name', 'size'), CASES)
def test_a_video_gives_two_training_clips(
    load: Callable[..., Config], name: str, size: str
) -> None:
    dataset = DATASETS.build(load(name, size).train_dataloader.dataset)
    for index in range(3):
        first, second = dataset[SampleKey(index, 0, 0)]
        for sample in (first, second):
            assert sample['inputs'].shape == (1, 3, 16, 224, 224)
            assert sample['inputs'].dtype == torch.uint8
        assert not torch.equal(first['inputs'], second['inputs'])
        labels = [s['data_samples'].gt_label.item() for s in (first, second)]
        assert labels == [dataset.get_data_info(index)['label']] * 2


@pytest.mark.parametrize(('name', 'size'), CASES)
def test_a_video_gives_the_views_of_table_9(
    load: Callable[..., Config], name: str, size: str
) -> None:
    cfg = load(name, size)
    sample = DATASETS.build(cfg.test_dataloader.dataset)[0]
    views = sample['inputs']
    assert views.shape == (VIEWS[name], 3, 16, 224, 224)
    assert views.dtype == torch.uint8
    assert len({view.numpy().tobytes() for view in views}) == VIEWS[name]
    one = DATASETS.build(cfg.val_dataloader.dataset)[0]['inputs']
    assert one.shape == (1, 3, 16, 224, 224)


def _indices(cfg: Config, split: str, total: int) -> torch.Tensor:
    """Frames that a split's sampler takes of a long video, (clips, 16)."""
    steps = _transforms(_datasets(cfg)[split].pipeline)
    (sampler,) = [s for s in steps if s.type in SAMPLERS]
    sample = {'total_frames': total, 'start_index': 0}
    results = TRANSFORMS.build(sampler)(sample)
    return torch.from_numpy(results['frame_inds']).reshape(-1, 16)


@pytest.mark.parametrize(
    ('name', 'stride'), [('k400', 4), ('ucf101', 4), ('hmdb51', 2)]
)
def test_dense_sampling(
    load: Callable[..., Config], name: str, stride: int
) -> None:
    cfg = load(name)
    starts = set()
    for _ in range(20):
        (train,) = _indices(cfg, 'train', 300)
        assert (train.diff() == stride).all()
        starts.add(train[0].item())
    assert len(starts) > 5
    test = _indices(cfg, 'test', 300)
    assert len(test) == VIEWS[name] // 3
    assert (test.diff() == stride).all()
    # From the first frame to the last.
    assert test.min() == 0 and test.max() == 299


def test_uniform_sampling_of_ssv2(load: Callable[..., Config]) -> None:
    cfg = load('ssv2')
    segments = torch.arange(17) * 319 / 16
    for _ in range(20):
        (train,) = _indices(cfg, 'train', 320)
        assert (train >= segments[:-1].floor()).all()
        assert (train <= segments[1:].ceil()).all()
    first, second = _indices(cfg, 'test', 320)
    for clip in (first, second):
        assert (clip.diff() - 20).abs().max() <= 1
    assert ((second - first - 319 / 16 / 3).abs() < 1.5).all()


def test_corrupt_video_stops_the_evaluation_by_name(
    load: Callable[..., Config], tmp_path: Path
) -> None:
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
