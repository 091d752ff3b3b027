"""Repeated augmentation: one decoding, several samples of a batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import decord
import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from bimm_mm.datasets import Draw, ResilientDataset
from bimm_mm.datasets.transforms import RepeatSamples
from bimm_mm.engine import BadVideoHook
from bimm_mm.registry import DATASETS

CROP = (
    {'type': 'mmaction.RandomResizedCrop', 'area_range': (0.3, 1.0)},
    {'type': 'mmaction.Resize', 'scale': (32, 32), 'keep_ratio': False},
)
PACK = (
    {'type': 'mmaction.FormatShape', 'input_format': 'NCTHW'},
    {'type': 'mmaction.PackActionInputs', 'meta_keys': ('filename',)},
)


def _clip(num: int = 4) -> dict:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (num, 48, 64, 3), dtype=np.uint8)
    return {
        'imgs': list(frames),
        'img_shape': (48, 64),
        'clip_len': num,
        'num_clips': 1,
        'label': 3,
        'filename': 'a.mp4',
        'modality': 'RGB',
    }


@pytest.fixture
def config(
    write_video: Callable[..., Path],
    write_list: Callable[..., Path],
    video_config: Callable[..., dict],
) -> Callable[..., dict]:
    """A dataset of five videos; those in ``broken`` are garbage."""

    def make(broken: tuple[int, ...] = ()) -> dict:
        for number in range(5):
            path = write_video(f'{number}.mp4', seed=number)
            if number in broken:
                path.write_bytes(b'garbage' * 100)
        lines = [f'{number}.mp4 {number}' for number in range(5)]
        dataset = video_config(write_list(*lines))
        decode, *_ = dataset['dataset']['pipeline']
        repeat = {'type': 'bimm_mm.RepeatSamples', 'num': 2}
        repeat['transforms'] = [*CROP, *PACK]
        dataset['dataset']['pipeline'] = [decode, repeat]
        return dataset

    return make


def test_two_packed_samples_that_differ() -> None:
    samples = RepeatSamples(2, transforms=[*CROP, *PACK])(_clip())
    first, second = samples
    assert first['inputs'].shape == second['inputs'].shape
    assert first['inputs'].shape == (1, 3, 4, 32, 32)
    assert not torch.equal(first['inputs'], second['inputs'])
    for sample in samples:
        assert sample['data_samples'].gt_label.tolist() == [3]
        assert sample['data_samples'].filename == 'a.mp4'
    one, other = (sample['data_samples'] for sample in samples)
    one.set_gt_label(4)
    assert other.gt_label.tolist() == [3]


def test_samples_do_not_share_frames() -> None:
    # mmaction2 flips in place: twice would be not at all.
    flip = {'type': 'mmaction.Flip', 'flip_ratio': 1.0}
    samples = RepeatSamples(3, transforms=[flip, *PACK])(_clip())
    assert len(samples) == 3
    wanted = np.stack(_clip()['imgs'])[:, :, ::-1].transpose(3, 0, 1, 2)
    for sample in samples:
        np.testing.assert_array_equal(sample['inputs'][0], wanted)


def test_erasing_hits_one_box_in_all_frames_of_one_sample() -> None:
    erase = {
        'type': 'mmaction.RandomErasing',
        'erase_prob': 1.0,
        'mode': 'rand',
        'fill_color': (123.675, 116.28, 103.53),
        'fill_std': (58.395, 57.12, 57.375),
    }
    samples = RepeatSamples(2, transforms=[erase, *PACK])(_clip())
    before = torch.from_numpy(np.stack(_clip()['imgs'])).permute(3, 0, 1, 2)
    boxes = []
    for sample in samples:
        changed = (sample['inputs'][0] != before).any(0)
        rows, columns = changed.any(2), changed.any(1)
        # The same rows and columns in every frame, but other noise.
        assert (rows == rows[:1]).all() and (columns == columns[:1]).all()
        assert 0.01 < changed.float().mean() < 0.4
        patch = sample['inputs'][0][..., rows[0], :][..., columns[0]]
        assert not torch.equal(patch[:, 0], patch[:, 1])
        boxes.append((rows[0].tolist(), columns[0].tolist()))
    assert boxes[0] != boxes[1]


def test_a_video_is_decoded_once(
    config: Callable[..., dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = DATASETS.build(config())
    decoded = []
    get_batch = decord.VideoReader.get_batch

    def count(reader: decord.VideoReader, indices: np.ndarray):
        decoded.append(list(indices))
        return get_batch(reader, indices)

    monkeypatch.setattr(decord.VideoReader, 'get_batch', count)
    assert len(dataset[2]) == 2
    assert len(decoded) == 1


def test_both_depend_on_the_draw_alone(config: Callable[..., dict]) -> None:
    dataset = DATASETS.build(config())
    one, other = dataset[Draw(1, 2, 3)], dataset[Draw(1, 2, 3)]
    later = dataset[Draw(1, 3, 3)]
    for a, b, c in zip(one, other, later, strict=True):
        assert torch.equal(a['inputs'], b['inputs'])
        assert not torch.equal(a['inputs'], c['inputs'])


def test_broken_video_is_replaced_and_noted_once(
    config: Callable[..., dict], tmp_path: Path
) -> None:
    dataset = DATASETS.build(config(broken=(1,)))
    first, second = (sample['data_samples'] for sample in dataset[1])
    assert first.index == second.index != 1
    assert {path for path, _ in first.replaced} == {
        str(tmp_path / 'videos/1.mp4')
    }
    assert 'replaced' not in second
    assert first.gt_label.item() == second.gt_label.item() == first.index


def _loader(dataset: ResilientDataset, workers: int) -> list[dict]:
    loader = Runner.build_dataloader(
        {
            'dataset': dataset,
            'batch_size': 2,
            'num_workers': workers,
            'drop_last': True,
            'sampler': {'type': 'bimm_mm.EpochSampler', 'shuffle': True},
            'collate_fn': {'type': 'repeat_pseudo_collate'},
        },
        seed=7,
    )
    return list(loader)


def test_batches_hold_the_samples_of_all_videos(
    config: Callable[..., dict],
) -> None:
    dataset = DATASETS.build(config())
    batches, again = _loader(dataset, 0), _loader(dataset, 2)
    assert len(batches) == 2
    for batch, other in zip(batches, again, strict=True):
        assert len(batch['inputs']) == len(batch['data_samples']) == 4
        files = [sample.filename for sample in batch['data_samples']]
        assert files[0] == files[1] != files[2] == files[3]
        pairs = zip(batch['inputs'], other['inputs'], strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_bad_videos_are_counted_per_draw(
    config: Callable[..., dict], tmp_path: Path
) -> None:
    dataset = DATASETS.build(config(broken=(1,)))
    # One bad file and two good ones were drawn: a third, not a fifth.
    draws = next(
        [dataset[Draw(0, 0, 0)], replaced]
        for replaced in (dataset[Draw(1, epoch, 0)] for epoch in range(20))
        if len(replaced[0]['data_samples'].replaced) == 1
    )
    samples = [one['data_samples'] for draw in draws for one in draw]
    batch = {'data_samples': samples}
    runner = SimpleNamespace(work_dir=str(tmp_path))
    BadVideoHook(0.34, min_seen=1).after_train_iter(runner, 0, batch)
    with pytest.raises(RuntimeError, match=r'1 of 3 samples drawn \(33\.3%\)'):
        BadVideoHook(0.33, min_seen=1).after_train_iter(runner, 0, batch)
    (line,) = (tmp_path / 'undecodable.txt').read_text().splitlines()
    assert line.startswith(str(tmp_path / 'videos/1.mp4'))


def test_too_few_samples() -> None:
    with pytest.raises(ValueError, match='num must be at least 1, got 0'):
        RepeatSamples(0, transforms=PACK)


def test_transforms_without_packing_are_told() -> None:
    with pytest.raises(ValueError, match='must end in packing'):
        RepeatSamples(2, transforms=CROP)(_clip())
