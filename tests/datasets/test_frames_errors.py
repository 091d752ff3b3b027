"""Frames on the device: every mistake ends in one clear error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.registry import MODELS, TRANSFORMS

from bimm_mm.apis.feature_data import FeatureDataset
from bimm_mm.datasets import frame_loading
from bimm_mm.datasets.frame_store import DeviceFrames, FrameStore


@pytest.fixture
def frames(write_video, write_list, tmp_path) -> dict:
    """Options of three small videos."""
    for number in range(3):
        write_video(f'{number}.mp4', num=5, size=(32, 24), seed=number)
    ann_file = write_list(*(f'{n}.mp4 {n}' for n in range(3)))
    root = str(tmp_path / 'videos')
    return dict(ann_file=str(ann_file), data_root=root, side=16)


def _build(frames: dict, **options: object) -> torch.nn.Module:
    kind = 'bimm_mm.StimulusFromFrames'
    return MODELS.build(dict(type=kind, frames=frames, **options))


def _pack(frames: dict, **options: object) -> Callable[[dict], dict]:
    names = ('ann_file', 'data_root')
    kind = 'bimm_mm.PackVideoNumber'
    common = {name: frames[name] for name in names}
    return TRANSFORMS.build(dict(type=kind, **common, label=False, **options))


def test_a_list_that_is_missing(frames) -> None:
    frames['ann_file'] = 'no/list.txt'
    for build in (_build, _pack):
        with pytest.raises(FileNotFoundError, match=r'no/list\.txt does not'):
            build(frames)


def test_a_malformed_line(frames) -> None:
    Path(frames['ann_file']).write_text('0.mp4 0\n1.mp4\n')
    with pytest.raises(ValueError, match=r'line 2.*no label'):
        _build(frames)


def test_videos_that_are_missing(frames, tmp_path) -> None:
    (tmp_path / 'videos' / '1.mp4').unlink()
    with pytest.raises(
        FileNotFoundError, match=r'1 of 3 videos.*first is .*1\.mp4.*data_root'
    ):
        _build(frames)


def test_all_bad_videos_are_named(frames, tmp_path) -> None:
    (tmp_path / 'videos' / '0.mp4').write_bytes(b'garbage' * 100)
    (tmp_path / 'videos' / '2.mp4').write_bytes(b'')
    with pytest.raises(
        ValueError, match=r'(?s)2 of 3.*0\.mp4: .*2\.mp4: .*take them off'
    ):
        _build(frames)


def test_a_video_that_ends_early_is_named(frames, monkeypatch) -> None:
    fill = frame_loading._fill

    def broken(path: str, **options: object) -> None:
        if path.endswith('1.mp4'):
            raise frame_loading.UndecodableVideoError(path, 'cut off')
        fill(path, **options)

    monkeypatch.setattr(frame_loading, '_fill', broken)
    with pytest.raises(ValueError, match=r'1 of 3 .*\n.*1\.mp4: cut off'):
        _build(frames)


def test_too_many_frames_for_the_machine(frames, monkeypatch) -> None:
    need = 15 * 3 * 16 * 16
    monkeypatch.setattr(
        frame_loading, 'available_memory', lambda: need / 0.9 / 3.9
    )
    monkeypatch.setattr(
        frame_loading, 'each_video', lambda *_: pytest.fail('decoded')
    )
    with pytest.raises(
        MemoryError, match=r'15 frames at side=16 need .*at most 8'
    ):
        _build(frames)
    monkeypatch.setattr(
        frame_loading, 'available_memory', lambda: 2 * need / 0.9 - 2
    )
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '2')
    with pytest.raises(MemoryError, match=r'each process has room'):
        _build(frames)


def test_too_many_frames_for_the_gpu(monkeypatch) -> None:
    host = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    one = torch.zeros(1, dtype=torch.int64)
    store = FrameStore(DeviceFrames(host, one, one + 4, one + 1.0), 'abc')
    monkeypatch.setattr(torch.cuda, 'current_device', lambda: 1)
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (100, 0))
    monkeypatch.setattr(torch.cuda, 'memory_reserved', lambda device: 700)
    monkeypatch.setattr(torch.cuda, 'memory_allocated', lambda device: 2)
    assert host.nbytes == 768
    # 90 % of 798 are 718.
    with pytest.raises(
        MemoryError, match=r'cuda:1 has room for .*\(at most 7\)'
    ):
        store.on(torch.device('cuda'))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_one_copy_on_the_gpu(frames) -> None:
    preprocessor = _build(frames, size=16).to('cuda')
    pack = _pack(frames)
    packed = pack(dict(filename=f'{frames["data_root"]}/1.mp4'))
    out = preprocessor(default_collate([packed]), True)['inputs']
    assert out.inputs.device.type == 'cuda'
    one, two = map(torch.device, ('cuda', 'cuda:0'))
    assert preprocessor.store.on(one) is preprocessor.store.on(two)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(size=0), r'size must be at least 1, got 0'),
        (dict(clip_len=0), r'clip_len must be at least 1'),
        (dict(frame_interval=0), r'frame_interval must be at least 1'),
        (dict(area_range=(0.0, 1.0)), r'area_range .* got \(0\.0, 1\.0\)'),
        (dict(area_range=(0.9, 0.5)), r'area_range'),
        (dict(aspect_range=(2.0, 0.5)), r'aspect_range'),
        (dict(flip_ratio=1.5), r'flip_ratio .* 1\.5'),
        (dict(std=(1, 1, 0)), r'std positive'),
    ],
)
def test_options_out_of_range(frames, options, words) -> None:
    with pytest.raises(ValueError, match=words):
        _build(frames, **options)


def test_no_views_to_test(frames) -> None:
    kind = 'bimm_mm.ActionFromFrames'
    with pytest.raises(ValueError, match=r'test_clips must be at least 1'):
        MODELS.build(dict(type=kind, frames=frames, test_clips=0))


@pytest.mark.parametrize('name', ['side', 'num_threads'])
def test_frames_out_of_range(frames, name) -> None:
    with pytest.raises(ValueError, match=rf'frames: {name} must be at least'):
        _build({**frames, name: 0})


def test_mistyped_keys(frames) -> None:
    with pytest.raises(TypeError, match=r'sice'):
        _build(frames, sice=3)
    with pytest.raises(TypeError, match=r'sied'):
        _build({**frames, 'sied': 3})
    with pytest.raises(TypeError, match=r'lebal'):
        _pack(frames, lebal=3)


def test_a_video_that_the_list_does_not_name(frames, tmp_path) -> None:
    pack = _pack(frames)
    good = pack(dict(filename=str(tmp_path / 'videos/../videos/1.mp4')))
    assert good['inputs'].tolist() == [1]
    with pytest.raises(
        FileNotFoundError, match=r"x/3\.mp4 is not among the 3 .*'x/3\.mp4'"
    ):
        pack(dict(filename=str(tmp_path / 'videos/x/3.mp4')))
    # Another folder: the paths look alike, but are other files.
    with pytest.raises(FileNotFoundError, match=r'data_prefix'):
        pack(dict(filename='elsewhere/1.mp4'))


def test_names_without_ending_and_listed_twice(frames, tmp_path) -> None:
    ann_file = Path(frames['ann_file'])
    ann_file.write_text('2 0\n1.mp4 1\n2.mp4 0\n./0.mp4 4\n')
    store = _build(frames).store
    assert len(store) == 3
    pack = _pack(frames)
    for name, number in (('2', 0), ('2.mp4', 0), ('1', 1), ('0.mp4', 2)):
        packed = pack(dict(filename=str(tmp_path / 'videos' / name)))
        assert packed['inputs'].item() == number


def test_numbers_of_another_list(frames, tmp_path) -> None:
    preprocessor = _build(frames, size=8)
    other = tmp_path / 'other.txt'
    other.write_text('2.mp4 2\n0.mp4 0\n')
    pack = _pack({**frames, 'ann_file': str(other)})
    packed = pack(dict(filename=str(tmp_path / 'videos/0.mp4')))
    with pytest.raises(ValueError, match=r'PackVideoNumber the ann_file of'):
        preprocessor(default_collate([packed]))
    for number in (3, -1):
        batch = dict(inputs=torch.tensor([[number]]), data_samples=None)
        with pytest.raises(ValueError, match=r'those of the 3 videos'):
            preprocessor(batch)


@pytest.mark.parametrize(
    'inputs',
    [
        torch.zeros(2, 1, 3, 4, 8, 8, dtype=torch.uint8),
        [torch.zeros(3, 4, 8, 8)],
        torch.zeros(2, dtype=torch.int64),
    ],
)
def test_inputs_that_are_no_numbers(frames, inputs) -> None:
    with pytest.raises(ValueError, match=r'bimm_mm\.PackVideoNumber'):
        _build(frames)(dict(inputs=inputs))


def test_a_wrong_path_is_no_bad_file_for_features(frames, tmp_path) -> None:
    some = tmp_path / 'some.txt'
    some.write_text('x/3.mp4 1\n')
    dataset = dict(
        type='VideoDataset',
        ann_file=str(some),
        data_prefix=dict(video=frames['data_root']),
        pipeline=[
            dict(
                type='bimm_mm.PackVideoNumber',
                ann_file=frames['ann_file'],
                data_root=frames['data_root'],
            )
        ],
    )
    cfg = dict(default_scope='mmaction', val_dataloader=dict(dataset=dataset))
    data = FeatureDataset(cfg, split='val', pipeline='val')
    assert data[0].missing
    assert 'is not among' in data[0].fault
