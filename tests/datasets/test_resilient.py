"""Replacement of broken files, wrong paths, and exact repetition."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.registry import DATASETS as ROOT_DATASETS
from torch.utils.data import DataLoader

from bimm_mm.datasets import Draw, EpochSampler, ResilientDataset
from bimm_mm.registry import DATASETS

Config = Callable[..., dict]


@pytest.fixture
def clips(
    write_video: Callable[..., Path],
    write_list: Callable[..., Path],
    video_config: Config,
) -> Callable[..., dict]:
    """Five videos; those whose number is in ``broken`` are garbage."""

    def make(broken: tuple[int, ...] = (), **options: object) -> dict:
        for number in range(5):
            path = write_video(f'{number}.mp4', seed=number)
            if number in broken:
                path.write_bytes(b'garbage' * 100)
        lines = [f'{number}.mp4 0' for number in range(5)]
        return video_config(write_list(*lines), **options)

    return make


def test_sound_sample_replaces_nothing(clips: Config, tmp_path: Path) -> None:
    sample = DATASETS.build(clips())[3]
    assert sample['inputs'].shape == (2, 3, 4, 32, 32)
    assert sample['inputs'].dtype == torch.uint8
    meta = sample['data_samples']
    assert (meta.path, meta.index) == (str(tmp_path / 'videos/3.mp4'), 3)
    assert meta.replaced == []
    assert np.diff(meta.frames).tolist() == [2, 2, 2]


def test_broken_video_is_replaced_and_named(
    clips: Config, tmp_path: Path
) -> None:
    dataset = DATASETS.build(clips(broken=(1, 2)))
    bad = {str(tmp_path / f'videos/{number}.mp4') for number in (1, 2)}
    for epoch in range(6):
        sample = dataset[Draw(1, epoch, 0)]['data_samples']
        assert sample.index not in (1, 2)
        assert sample.path.endswith(f'/{sample.index}.mp4')
        files = [path for path, _ in sample.replaced]
        assert files[0] == str(tmp_path / 'videos/1.mp4')
        assert set(files) <= bad
        assert all(reason for _, reason in sample.replaced)


def test_replacement_depends_on_the_draw_alone(clips: Config) -> None:
    dataset = DATASETS.build(clips(broken=(1,)))
    first = [dataset[Draw(1, epoch, 0)] for epoch in range(8)]
    again = [dataset[Draw(1, epoch, 0)] for epoch in reversed(range(8))]
    for one, other in zip(first, reversed(again), strict=True):
        assert one['data_samples'].index == other['data_samples'].index
        assert torch.equal(one['inputs'], other['inputs'])
    assert len({one['data_samples'].index for one in first}) > 1


def test_gives_up_after_max_tries(clips: Config) -> None:
    dataset = DATASETS.build(clips(broken=(0, 1, 2, 3, 4), max_tries=3))
    with pytest.raises(RuntimeError, match=r'max_tries=3(.|\n)*0\.mp4: '):
        dataset[0]


def test_index_leaves_randomness_alone(clips: Config) -> None:
    dataset = DATASETS.build(clips())
    np.random.seed(0)
    samples = [dataset[0]['inputs'] for _ in range(8)]
    assert any(not torch.equal(samples[0], other) for other in samples)


def _batches(dataset: ResilientDataset, epoch: int, workers: int) -> list:
    sampler = EpochSampler(dataset, seed=5)
    sampler.set_epoch(epoch)
    loader = DataLoader(
        dataset,
        batch_size=2,
        sampler=sampler,
        num_workers=workers,
        collate_fn=default_collate,
        # Workers whose own seeds differ from run to run.
        worker_init_fn=partial(_disturb, workers),
    )
    return list(loader)


def _disturb(workers: int, worker: int) -> None:
    np.random.seed(1000 * workers + worker)


def test_batches_do_not_depend_on_workers_or_history(clips: Config) -> None:
    # A run resumed in epoch 3 equals one that did epochs 0 to 2 before.
    long = DATASETS.build(clips(broken=(2,)))
    history = [_batches(long, epoch, 2) for epoch in range(4)]
    resumed = _batches(DATASETS.build(clips(broken=(2,))), 3, 0)
    for one, other in zip(history[3], resumed, strict=True):
        assert torch.equal(one['inputs'], other['inputs'])
        for a, b in zip(
            one['data_samples'], other['data_samples'], strict=True
        ):
            assert a.metainfo == b.metainfo
    replaced = [s.replaced for b in resumed for s in b['data_samples']]
    assert sum(map(bool, replaced)) == 1
    assert not torch.equal(history[2][0]['inputs'], resumed[0]['inputs'])


def test_wrong_folder_is_told_at_once(clips: Config) -> None:
    config = clips()
    config['dataset']['data_prefix']['video'] = 'elsewhere'
    with pytest.raises(
        FileNotFoundError, match=r'elsewhere/0\.mp4.*list\.txt.*data_prefix'
    ):
        DATASETS.build(config)


def test_missing_file_is_not_replaced(clips: Config, tmp_path: Path) -> None:
    config = clips()
    (tmp_path / 'videos/4.mp4').unlink()
    dataset = DATASETS.build(config)
    with pytest.raises(
        FileNotFoundError, match=r'videos/4\.mp4.*listed in .*list\.txt'
    ):
        dataset[4]


def test_list_mistakes_are_told_by_name(
    clips: Config, write_list: Callable[..., Path], tmp_path: Path
) -> None:
    config = clips()
    write_list('0.mp4 0', '1.mp4')
    with pytest.raises(ValueError, match=r'list\.txt, line 2.*no label'):
        DATASETS.build(config)
    write_list()
    with pytest.raises(ValueError, match=r'list\.txt is empty'):
        DATASETS.build(config)
    (tmp_path / 'list.txt').unlink()
    with pytest.raises(FileNotFoundError, match=r'list\.txt does not exist'):
        DATASETS.build(config)


def test_names_without_ending_are_mp4(
    clips: Config, write_list: Callable[..., Path]
) -> None:
    config = clips()
    write_list('0 0')
    assert DATASETS.build(config)[0]['inputs'].shape[0] == 2


def test_wraps_other_wrappers(clips: Config) -> None:
    inner = clips()['dataset']
    config = {
        'type': 'bimm_mm.ResilientDataset',
        'dataset': {'type': 'RepeatDataset', 'times': 3, 'dataset': inner},
    }
    dataset = DATASETS.build(config)
    assert len(dataset) == 15
    assert dataset[12]['data_samples'].path.endswith('2.mp4')


def test_wraps_a_built_dataset(clips: Config) -> None:
    built = ROOT_DATASETS.build(clips()['dataset'])
    dataset = ResilientDataset(built)
    assert len(dataset) == 5 and dataset.metainfo == built.metainfo


def test_bad_max_tries() -> None:
    with pytest.raises(ValueError, match='max_tries must be at least 1'):
        ResilientDataset({}, max_tries=0)
