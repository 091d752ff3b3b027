"""The script: from a config and a checkpoint to a file, or one clear line."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bimm_mm.apis.feature_file import read_features
from tests.processes import ROOT, Started, call_script

# UCF101's config at toy size, with a pipeline that expects no damaged video.
CONFIG = f"""
_base_ = {str(ROOT / 'configs/downstream/ucf101/finetune_ucf101.py')!r}
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=48, depth=2, num_heads=2),
        img_size=32,
        num_frames=4,
    ),
    cls_head=dict(num_classes=6, in_channels=48),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        ann_file='list.txt',
        data_prefix=dict(video='VIDEOS'),
        pipeline=[
            dict(type='bimm_mm.VideoInit'),
            dict(type='SampleFrames', clip_len=4, frame_interval=6,
                 num_clips=1, test_mode=True),
            dict(type='bimm_mm.VideoDecode'),
            dict(type='Resize', scale=(32, 32), keep_ratio=False),
            dict(type='FormatShape', input_format='NCTHW'),
            dict(type='PackActionInputs'),
        ],
    ),
)
"""


@pytest.fixture
def extract(data_root: Path, tmp_path: Path, call_tool) -> Callable[..., None]:
    """Run the script in a folder with a config and a list of four clips."""
    source = data_root / 'action_mini' / 'ut_interaction'
    lines = (source / 'all.txt').read_text().splitlines()[:4]
    (tmp_path / 'list.txt').write_text('\n'.join(lines))
    text = CONFIG.replace('VIDEOS', str(source / 'videos_sq'))
    (tmp_path / 'tiny.py').write_text(text)
    return partial(call_tool, 'extract_features', 'tiny.py')


def test_every_flag_takes_effect(extract, call_tool, tmp_path, capsys):
    extract('none', '--out', 'a.npz', '--pool', 'avg', '--block', '1', '2')
    said = capsys.readouterr().out
    assert 'a.npz: features_block1 (4, 48) float32' in said
    features = read_features(tmp_path / 'a.npz')
    assert set(features.arrays) == {'features_block1', 'features_block2'}
    expected = (tmp_path / 'list.txt').read_text().splitlines()
    assert features.paths == [line.split()[0] for line in expected]
    meta = features.meta
    assert meta['config'].endswith('tiny.py')
    assert (meta['features'], meta['seed']) == ('random', 0)
    assert (meta['blocks'], meta['pool']) == ([1, 2], 'avg')
    assert meta['software'].startswith('bimm_mm ')

    extract(
        'none', '--out', 'b.npz', '--seed', '3', '--amp', '--cfg-options',
        'model.backbone.patch_size=8', 'val_dataloader.batch_size=3',
    )  # fmt: skip
    features = read_features(tmp_path / 'b.npz')
    assert features.arrays['features'].shape == (4, 48)
    assert (features.meta['seed'], features.meta['amp']) == (3, True)

    # A damaged video, in a pipeline that does not expect one.
    (tmp_path / 'bad.mp4').write_bytes(b'no video' * 99)
    with open('list.txt', 'a') as file:
        file.write(f'\n{tmp_path}/bad.mp4 0\n')
    skip = ('--features', 'motion-energy', '--skip-bad')
    with pytest.raises(SystemExit, match=r'^1$'):
        extract('none', '--out', 'c.npz', *skip)
    assert 'LEFT OUT: 1 of 5 files cannot' in capsys.readouterr().err
    lines = (tmp_path / 'list.txt').read_text().splitlines(keepends=True)
    (tmp_path / 'train0.txt').write_text(''.join(lines[:3]))
    (tmp_path / 'val0.txt').write_text(lines[3])
    folds = ('--folds', 'train{}.txt', 'val{}.txt')
    folds += ('--method', 'knn', '--k', '1')
    with pytest.raises(SystemExit, match=r'^1$'):
        call_tool('probe', 'tiny.py', 'none', *skip, *folds)
    assert 'knn' in capsys.readouterr().out
    energy = read_features(tmp_path / 'c.npz')
    assert energy.arrays['features'].shape == (4, 3 * 64)
    assert energy.meta['features'] == 'motion-energy'


def test_a_mistake_ends_in_one_line(extract, tmp_path):
    expected = r'extract_features.py: error: .*\[7\]: .* in 1\.\.2'
    with pytest.raises(SystemExit, match=expected):
        extract('none', '--out', 'a.npz', '--block', '7')
    assert not list(tmp_path.glob('*.npz'))
    with pytest.raises(SystemExit, match='/proc/no cannot be written'):
        extract('none', '--out', '/proc/no/a.npz')
    with pytest.raises(OSError, match='/proc/no cannot be written'):
        extract('none', '--out', '/proc/no/a.npz', '--debug')


def test_two_processes_write_what_one_writes(extract, tmp_path):
    flags = ('none', '--launcher', 'pytorch', '--out', 'two.npz')
    two = Started(
        call_script, tmp_path, 'extract_features.py', 'tiny.py', *flags,
        log=tmp_path / 'said.txt', ranks=2,
    )  # fmt: skip
    extract('none', '--out', 'one.npz')
    assert two.wait() == [0, 0], two.said
    one, two = (read_features(f'{name}.npz') for name in ('one', 'two'))
    assert two.paths == one.paths
    a, b = one.arrays['features'], two.arrays['features']
    assert np.allclose(a, b, atol=1e-5)
