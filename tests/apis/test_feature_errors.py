"""What cannot be extracted is refused, and damaged files are named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

# Of the clips in conftest.py.
CLIPS = 5


def use_clips(cfg: Config, folder: Path) -> None:
    dataset = cfg.val_dataloader.dataset
    dataset.ann_file = str(folder / 'list.txt')
    dataset.data_prefix.video = str(folder / 'videos')


@pytest.fixture
def damaged(folder: Path, cfg: Config, tmp_path: Path) -> Path:
    """The second clip is not a video any more."""
    shutil.copytree(folder, tmp_path / 'clips')
    use_clips(cfg, tmp_path / 'clips')
    name = (folder / 'list.txt').read_text().splitlines()[1].split()[0]
    bad = tmp_path / 'clips' / 'videos' / name
    bad.write_bytes(b'no video' * 1000)
    return bad


@pytest.mark.parametrize('workers', [0, 1])
def test_damaged_video_is_named(extract, damaged, workers):
    with pytest.raises(ValueError, match='cannot be decoded') as caught:
        extract(workers=workers)
    text = str(caught.value)
    assert damaged.name in text and '--skip-bad' in text
    assert 'Traceback' not in text and len(text) < 500


def test_damaged_video_can_be_left_out_loudly(
    extract, damaged, folder, cfg, capsys
):
    features = extract(skip_bad=True)
    said = capsys.readouterr().err
    assert f'LEFT OUT: 1 of {CLIPS} files' in said and damaged.name in said
    assert [path for path, _ in features.meta['skipped']] == [
        f'{damaged.parent.name}/{damaged.name}'
    ]
    use_clips(cfg, folder)
    whole = extract().select([0, 2, 3, 4])
    assert features.paths == whole.paths
    assert np.allclose(
        features.arrays['features'], whole.arrays['features'], atol=1e-5
    )


def test_nothing_but_damaged_videos_is_an_error(extract, damaged):
    for path in damaged.parents[1].glob('*/*.mp4'):
        path.write_bytes(b'')
    with pytest.raises(ValueError, match='none of 5 files can be decoded'):
        extract(skip_bad=True)


@pytest.mark.parametrize('workers', [0, 1])
def test_missing_video_is_never_left_out(extract, damaged, workers):
    damaged.unlink()
    with pytest.raises(FileNotFoundError, match=damaged.name) as caught:
        extract(skip_bad=True, workers=workers)
    assert 'data_prefix' in str(caught.value)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(blocks=(1, 4)), r'block 4: .* 3 blocks.* 1\.\.3'),
        (dict(blocks=(0,)), r'block 0: .* 3 blocks'),
        (dict(device='gpu'), "device 'gpu'"),
    ],
)
def test_what_the_encoder_has_not_is_refused(extract, options, message):
    with pytest.raises(ValueError, match=message):
        extract(**options)


def test_trivial_features_take_no_checkpoint(extract):
    with pytest.raises(ValueError, match='has no weights'):
        extract('a.pth', kind='motion-energy')


def no_encoder(cfg: Config) -> None:
    cfg.model.backbone = dict(type='mmaction.ResNet3d')


def no_classifier(cfg: Config) -> None:
    cfg.model = dict(type='bimm_mm.MaskedBranch', backbone=cfg.model.backbone)


def no_split(cfg: Config) -> None:
    cfg.val_dataloader = None


def joined(cfg: Config) -> None:
    dataset = cfg.val_dataloader.dataset
    cfg.val_dataloader.dataset = dict(
        type='mmengine.ConcatDataset', datasets=[dataset]
    )


def other_sizes(cfg: Config) -> None:
    # Six crops of one video, three of the next.
    step = cfg.val_dataloader.dataset.pipeline
    step[1] = dict(type='RandomRescale', scale_range=(33, 256))
    del step[2]


def one_list(text: str) -> Callable[[Config], None]:
    def change(cfg: Config) -> None:
        path = Path(cfg.val_dataloader.dataset.ann_file)
        path = path.with_name(f'{len(text)}_bad.txt')
        path.write_text(text)
        cfg.val_dataloader.dataset.ann_file = str(path)

    return change


def no_list(cfg: Config) -> None:
    cfg.val_dataloader.dataset.ann_file = 'nowhere.txt'


def no_samples(cfg: Config) -> None:
    cfg.val_dataloader.dataset.indices = 0


def no_packing(cfg: Config) -> None:
    del cfg.val_dataloader.dataset.pipeline[-1]


@pytest.mark.parametrize(
    ('change', 'error', 'message'),
    [
        (no_encoder, ValueError, 'backbone of the config is mmaction.ResNet'),
        (no_classifier, ValueError, 'MaskedBranch is no classifier'),
        (no_split, ValueError, 'no val_dataloader'),
        (joined, ValueError, 'is a ConcatDataset'),
        (other_sizes, ValueError, 'crop or resize to one size'),
        (one_list(''), ValueError, 'list file .* is empty'),
        (one_list('a.mp4'), ValueError, 'line 1'),
        (no_list, FileNotFoundError, r'list file nowhere\.txt'),
        (no_samples, ValueError, 'the val set of the config is empty'),
        (no_packing, ValueError, 'no tensor named "inputs"'),
    ],
)
def test_configs_that_do_not_serve_are_refused(
    cfg, extract, change, error, message
):
    change(cfg)
    with pytest.raises(error, match=message):
        extract()


def test_samples_with_several_labels_are_refused(cfg, extract):
    cfg.val_dataloader.dataset.update(multi_class=True, num_classes=6)
    with pytest.raises(ValueError, match='exactly one class'):
        extract()
