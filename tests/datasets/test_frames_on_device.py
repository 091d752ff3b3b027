"""Clips from frames in memory: the pictures that decoding gives."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import cv2
import decord
import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope

from bimm_mm.datasets import ClipDataPreprocessor, frame_loading

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
SQUARE, WIDE = 'videos_sq', 'videos'


@pytest.fixture
def source(data_root: Path) -> Callable[..., dict]:
    """Options of a preprocessor over 5 real clips."""
    folder = data_root / 'action_mini' / 'ut_interaction'

    def make(tmp_path: Path, videos: str = SQUARE, side: int = 160) -> dict:
        lines = (folder / 'all.txt').read_text().splitlines()[:5]
        (tmp_path / 'all.txt').write_text('\n'.join(lines))
        return dict(
            ann_file=str(tmp_path / 'all.txt'),
            data_root=str(folder / videos),
            side=side,
        )

    return make


def _dataset(frames: dict, lines: list[str], *, pipeline: list | None = None):
    """A VideoDataset of some of the clips, by default their numbers."""
    init_default_scope('mmaction')
    place = Path(frames['ann_file']).with_name('some.txt')
    place.write_text('\n'.join(lines))
    pack = dict(
        type='bimm_mm.PackVideoNumber',
        ann_file=frames['ann_file'],
        data_root=frames['data_root'],
    )
    return DATASETS.build(
        dict(
            type='VideoDataset',
            ann_file=str(place),
            data_prefix=dict(video=frames['data_root']),
            pipeline=pipeline or [pack],
            serialize_data=False,
        )
    )


def _lines(frames: dict) -> list[str]:
    return Path(frames['ann_file']).read_text().splitlines()


def _decoding(
    size: int, *, clip_len: int, interval: int, views: int
) -> list[dict]:
    """mmaction2's pipeline for evaluation."""
    return [
        dict(type='DecordInit', num_threads=1),
        dict(
            type='SampleFrames',
            clip_len=clip_len,
            frame_interval=interval,
            num_clips=views,
            out_of_bound_opt='repeat_last',
            test_mode=True,
        ),
        dict(type='DecordDecode'),
        dict(type='Resize', scale=(-1, size)),
        dict(type='CenterCrop', crop_size=size),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs'),
    ]


def _as_decoded(frames: dict, lines: list[str], size: int, **options) -> dict:
    dataset = _dataset(frames, lines, pipeline=_decoding(size, **options))
    return pseudo_collate([dataset[i] for i in range(len(dataset))])


@pytest.mark.parametrize(
    'options',
    [
        dict(clip_len=4, interval=3, views=2),
        dict(clip_len=16, interval=4, views=1),  # longer than the clips
        dict(clip_len=1, interval=1, views=3),
    ],
)
def test_evaluation_shows_the_frames_of_mmaction2(
    source, tmp_path, options
) -> None:
    frames = source(tmp_path)
    preprocessor = MODELS.build(
        dict(
            type='bimm_mm.ActionFromFrames',
            frames=frames,
            size=160,
            clip_len=options['clip_len'],
            frame_interval=options['interval'],
            test_clips=options['views'],
            mean=(0, 0, 0),
            std=(1, 1, 1),
        )
    )
    lines = [_lines(frames)[i] for i in (3, 0, 4)]
    dataset = _dataset(frames, lines)
    batch = pseudo_collate([dataset[i] for i in range(3)])
    out = preprocessor(batch)
    wanted = _as_decoded(frames, lines, 160, **options)
    assert out['inputs'].shape == (3, *wanted['inputs'][0].shape)
    assert torch.equal(
        out['inputs'].round().byte(), torch.stack(wanted['inputs'])
    )
    samples = zip(out['data_samples'], wanted['data_samples'], strict=True)
    for ours, theirs in samples:
        assert torch.equal(ours.gt_label, theirs.gt_label)


def test_wide_pictures_keep_their_proportions(source, tmp_path) -> None:
    frames = source(tmp_path, WIDE, side=160)
    options = dict(clip_len=2, interval=3, views=1)
    lines = _lines(frames)
    wanted = _as_decoded(frames, lines, 64, **options)['inputs']
    preprocessor = MODELS.build(
        dict(
            type='bimm_mm.ActionFromFrames',
            frames=frames,
            size=64,
            clip_len=2,
            test_clips=1,
            mean=(0, 0, 0),
            std=(1, 1, 1),
        )
    )
    dataset = _dataset(frames, lines)
    batch = pseudo_collate([dataset[i] for i in range(len(lines))])
    got = preprocessor(copy.copy(batch))['inputs']
    error = (got - torch.stack(wanted)).abs().mean()
    preprocessor.store.on(got.device).ratio.fill_(1)
    squeezed = (preprocessor(batch)['inputs'] - torch.stack(wanted)).abs()
    frame_loading._load.cache_clear()
    # Squeezed frames lose detail, but nothing is in another place.
    assert error < 4
    assert squeezed.mean() > 3 * error


@pytest.mark.parametrize(
    ('size', 'side'), [((64, 48), 32), ((20, 90), 40), ((32, 24), 40)]
)
def test_frames_are_squeezed_by_the_mean_over_areas(
    write_video, write_list, tmp_path, size, side
) -> None:
    path = write_video('a.mp4', num=7, size=size)
    options = frame_loading.FrameOptions(
        str(write_list('a 0')), str(tmp_path / 'videos'), side
    )
    frames = frame_loading.load_frames(options).on(torch.device('cpu'))
    reader = decord.VideoReader(str(path), num_threads=1)
    assert frames.frames.shape == (7, 3, side, side)
    assert frames.ratio.item() == pytest.approx(size[0] / size[1])
    for index, ours in enumerate(frames.frames):
        frame = reader[index].asnumpy().astype(np.float64)
        wanted = _mean_over_areas(_mean_over_areas(frame, side, 0), side, 1)
        off = np.abs(ours.permute(1, 2, 0).numpy() - wanted)
        assert off.max() < 1.6


def _mean_over_areas(x: np.ndarray, side: int, axis: int) -> np.ndarray:
    """Restated: integrate along an axis, and take differences."""
    length = x.shape[axis]
    if length < side:
        shape = [x.shape[1], x.shape[0]]
        shape[1 - axis] = side
        return cv2.resize(x, shape, interpolation=cv2.INTER_LINEAR)
    moved = np.moveaxis(x, axis, 0)
    total = np.concatenate([0 * moved[:1], moved.cumsum(0)])
    places = np.linspace(0, length, side + 1)
    flat = total.reshape(length + 1, -1).T
    at = [np.interp(places, np.arange(length + 1), row) for row in flat]
    means = np.diff(np.array(at), axis=1).T * side / length
    return np.moveaxis(means.reshape(side, *moved.shape[1:]), 0, axis)


def test_training_draws_clips_that_a_seed_repeats(source, tmp_path) -> None:
    frames = source(tmp_path, side=48)
    preprocessor = MODELS.build(
        dict(type='bimm_mm.StimulusFromFrames', frames=frames, size=32)
    )
    dataset = _dataset(frames, _lines(frames))
    batch = default_collate([dataset[i] for i in range(5)])

    def draw(seed: int, training: bool = True) -> torch.Tensor:
        torch.manual_seed(seed)
        return preprocessor(copy.copy(batch), training)['inputs'].pixels

    assert draw(0).shape == (5, 3, 16, 32, 32)
    assert torch.equal(draw(0), draw(0))
    assert (draw(0) != draw(1)).flatten(1).any(1).all()
    assert torch.equal(draw(0, training=False), draw(1, training=False))


def test_evaluation_leaves_random_numbers_alone(source, tmp_path) -> None:
    frames = source(tmp_path, side=48)
    preprocessor = MODELS.build(
        dict(type='bimm_mm.StimulusFromFrames', frames=frames)
    )
    dataset = _dataset(frames, _lines(frames))
    torch.manual_seed(0)
    preprocessor(default_collate([dataset[0]]))
    after = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(3))


@pytest.mark.parametrize('clip_len', [1, 4])
def test_a_stimulus_is_that_of_the_other_preprocessor(
    source, tmp_path, clip_len
) -> None:
    frames = source(tmp_path)
    options = dict(clip_len=clip_len, interval=3, views=1)
    ours = MODELS.build(
        dict(
            type='bimm_mm.StimulusFromFrames',
            frames=frames,
            size=160,
            clip_len=clip_len,
        )
    )
    dataset = _dataset(frames, _lines(frames))
    out = ours(default_collate([dataset[i] for i in range(5)]))
    decoded = _as_decoded(frames, _lines(frames), 160, **options)
    theirs = ClipDataPreprocessor()(
        dict(inputs=torch.stack(decoded['inputs']), data_samples=None)
    )
    for name in ('inputs', 'pixels'):
        one, two = (getattr(x['inputs'], name) for x in (out, theirs))
        assert one.dtype == two.dtype == torch.float32
        torch.testing.assert_close(one, two, atol=2e-3, rtol=0)
    assert out['inputs'].contour is None
    assert [s.path for s in out['data_samples']] == [
        dataset.get_data_info(i)['filename'] for i in range(5)
    ]


def test_frames_are_decoded_once(source, tmp_path, monkeypatch) -> None:
    frame_loading._load.cache_clear()
    seen = []
    fill = frame_loading._fill
    monkeypatch.setattr(
        frame_loading,
        '_fill',
        lambda path, **o: seen.append(path) or fill(path, **o),
    )
    frames = source(tmp_path, side=24)
    kinds = ('StimulusFromFrames', 'ActionFromFrames', 'ActionFromFrames')
    first, *others = [
        MODELS.build(dict(type=f'bimm_mm.{kind}', frames=dict(frames)))
        for kind in kinds
    ]
    assert len(seen) == 5
    assert all(other.store is first.store for other in others)
    assert copy.deepcopy(first).store is first.store
    assert not first.state_dict()
    assert sum(b.numel() for b in first.buffers()) == 6
    # The list now names fewer videos.
    Path(frames['ann_file']).write_text(_lines(frames)[0])
    again = MODELS.build(dict(type='bimm_mm.ActionFromFrames', frames=frames))
    assert len(seen) == 6
    assert len(again.store) == 1


def test_blending_mixes_labels_in_training_only(source, tmp_path) -> None:
    frames = source(tmp_path, side=48)
    init_default_scope('mmaction')
    config = dict(type='bimm_mm.ActionFromFrames', frames=frames, size=32)
    blending = dict(type='MixupBlending', num_classes=6, alpha=0.8)
    preprocessor = MODELS.build(dict(config, blending=blending))
    dataset = _dataset(frames, _lines(frames))
    batch = pseudo_collate([dataset[i] for i in range(5)])
    torch.manual_seed(0)
    out = preprocessor(copy.deepcopy(batch), True)
    assert out['inputs'].shape == (5, 1, 3, 16, 32, 32)
    assert out['data_samples'][0].gt_label.shape == (6,)
    plain = preprocessor(copy.deepcopy(batch))
    assert plain['inputs'].shape == (5, 2, 3, 16, 32, 32)
    assert plain['data_samples'][0].gt_label.shape == (1,)
