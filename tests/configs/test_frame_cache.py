"""Copies and contours of a folder like Kinetics-400, as training has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.robustness.numbered import number, write
from bimm_mm.contours.config import ExtractionConfig
from bimm_mm.contours.extract import extract_contours
from bimm_mm.contours.jobs import find_jobs
from bimm_mm.datasets import ResilientDataset, SampleKey
from bimm_mm.registry import DATASETS
from bimm_mm.utils.config_parts import dicts
from bimm_mm.utils.video import VideoReader
from tests.processes import ROOT
from tools.prepare_videos import main

CONFIG = ROOT / 'configs/bimm/pretrain_joint_k400.py'
SIDE = 64


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Eight videos of three containers in class folders, and their list."""
    folder = tmp_path_factory.mktemp('k400')
    names = []
    for index in range(8):
        ending = ('mp4', 'avi', 'mkv')[index % 3]
        names.append(f'class_{index % 4}/{index}.{ending}')
        path = folder / 'videos' / names[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        codec = 'mpeg4' if ending == 'avi' else 'libx264'
        write(path, codec, frames=20 + 12 * index)
    lines = [f'{name} {index % 4}\n' for index, name in enumerate(names)]
    (folder / 'list.txt').write_text(''.join(lines))
    return folder


def prepare(folder: Path, out: str) -> str:
    """Copies by the tool; returns their folder."""
    flags = ['--list', str(folder / 'list.txt'), '--out', str(folder / out)]
    flags += ['--short-side', str(SIDE)]
    with pytest.raises(SystemExit) as end:
        main([str(folder / 'videos'), *flags, '--jobs', '1'])
    assert end.value.code == 0
    return str(folder / out)


def extract(data_root: str, folder: Path, out: str, **more: str) -> str:
    """Contours; returns their folder."""
    config = ExtractionConfig(
        data_root=data_root,
        contour_root=str(folder / out),
        detector='sobel',
        side=SIDE,
        **more,
    )
    jobs = find_jobs(data_root, list_file=str(folder / 'list.txt'))
    assert extract_contours(config, jobs, threads=1).files == 8
    return str(folder / out)


def build(
    shrink: Callable, folder: Path, data_root: str, contours: str
) -> ResilientDataset:
    """The data of the joint config at toy size; data_root is all it needs."""
    loader = shrink(CONFIG).train_dataloader
    for node in dicts(loader):
        if node.get('type') == 'VideoDataset':
            node.update(ann_file=str(folder / 'list.txt'))
            node.update(data_prefix=dict(video=data_root))
        if node.get('contour_root'):
            node['contour_root'] = contours
            if node['type'] == 'bimm_mm.LoadContour':
                node['data_root'] = data_root
    return DATASETS.build(loader.dataset)


def test_training_on_copies_sees_the_frames_of_the_source(
    folder, shrink, digests
):
    source = str(folder / 'videos')
    copies = prepare(folder, 'copies')
    # What a killed extraction left goes.
    (folder / 'same/class_0').mkdir(parents=True)
    (folder / 'same/class_0/.7-0123abcd_0.mp4').touch()
    # Contours of the source, with copies in the same pass; of the copies.
    contours = extract(source, folder, 'c1', frames_root=str(folder / 'same'))
    assert digests(folder / 'same') == digests(folder / 'copies')
    of_copies = extract(copies, folder, 'c2')

    roots = (source, contours), (copies, contours), (source, of_copies)
    datasets = [build(shrink, folder, *each) for each in roots]
    for index in range(8):
        key = SampleKey(seed=3, epoch=0, sample=index)
        a, b, c = (data[key] for data in datasets)
        frames = [sample['data_samples'].frames for sample in (a, b, c)]
        assert frames[0] == frames[1] == frames[2]
        assert not any(n % 4 for n in frames[0])
        x, y = (s['inputs'].float().numpy() for s in (a, b))
        error = (x[:, :3] - y[:, :3]) ** 2
        assert 10 * np.log10(255**2 / error.mean()) > 33
        # Contours are those of the source, whichever frames there are.
        assert np.array_equal(x[:, 3], y[:, 3])
        assert c['inputs'].shape == a['inputs'].shape
    # The very frames whose numbers are told.
    with VideoReader(f'{copies}/class_3/7.avi') as reader:
        image = reader.get_batch([100])[0]
    assert image.shape[0] == SIDE and number(image) == 100
