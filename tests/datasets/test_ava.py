"""AVA's files with the mistakes that mmaction2 turns into an mAP of 0."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bimm_mm.datasets import AVAKeyframeDataset

_PIPELINE = [
    dict(type='bimm_mm.VideoInit'),
    dict(type='mmaction.SampleAVAFrames', clip_len=2, test_mode=True),
    dict(type='bimm_mm.VideoDecode'),
    dict(type='mmaction.RandomCrop', size=64),
    dict(type='mmaction.FormatShape', input_format='NCTHW', collapse=True),
    dict(type='mmaction.PackActionInputs'),
]
_VIDEO = 'punching/set1_seq04_18.mp4'
_ROW = f'{_VIDEO},0001,0.1,0.2,0.5,0.9,3,0'


@pytest.fixture
def key_frames(tmp_path, data_root) -> Callable[..., AVAKeyframeDataset]:
    """Key frames of one video, from rows and detections of the test."""

    def build(
        rows: tuple[str, ...] = (_ROW,),
        detections: dict | None = None,
        labels: str | None = None,
        **options: object,
    ) -> AVAKeyframeDataset:
        truth = tmp_path / 'truth.csv'
        truth.write_text('\n'.join(rows))
        if detections is not None:
            options['proposal_file'] = str(tmp_path / 'found.pkl')
            Path(options['proposal_file']).write_bytes(
                pickle.dumps(detections)
            )
        if labels is not None:
            options['label_file'] = str(tmp_path / 'labels.pbtxt')
            Path(options['label_file']).write_text(labels)
        videos = data_root / 'action_mini' / 'ut_interaction' / 'videos'
        config = dict(
            type='mmaction.AVADataset',
            ann_file=str(truth),
            num_classes=8,
            use_frames=False,
            start_index=0,
            timestamp_start=0,
            timestamp_end=10,
            data_prefix=dict(img=str(videos)),
            pipeline=_PIPELINE,
        )
        return AVAKeyframeDataset({**config, **options})

    return build


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        (f'{_VIDEO},0001,16,20,80,150,3,0', 'shares of the frame'),
        (f'{_VIDEO},0001,0.5,0.2,0.1,0.9,3,0', 'shares of the frame'),
        (f'{_VIDEO},0001,0.1,0.2,0.5,nan,3,0', 'shares of the frame'),
        (f'{_VIDEO},0001,0.1,0.2,0.5,0.9,0,0', '0 is the background'),
        (f'{_VIDEO},0001,0.1,0.2,0.5,0.9,8,0', 'num_classes=8 means'),
        (f'{_VIDEO},0902,0.1,0.2,0.5,0.9,3,0', 'timestamp_start'),
        (f'{_VIDEO},0001,0.1,0.2,0.5,0.9,3', '7 fields'),
        (f'{_VIDEO},0001,0.1,0.2,0.5,0.9,push,0', 'push'),
    ],
)
def test_bad_rows(key_frames, row, message):
    with pytest.raises(ValueError, match=message) as caught:
        key_frames(rows=(_ROW, row))
    assert 'truth.csv, line 2' in str(caught.value)


def test_no_annotations(key_frames):
    with pytest.raises(ValueError, match=r'truth\.csv is empty'):
        key_frames(rows=())
    with pytest.raises(FileNotFoundError, match=r'gone\.csv'):
        key_frames(ann_file='gone.csv')


def test_custom_classes_are_not_refused(key_frames):
    # Actions of the file may be numbered beyond those that are used.
    rows = (_ROW.replace(',3,0', ',40,0'), _ROW)
    labels = ''.join(
        f'item {{\n  name: "{n}"\n  id: {n}\n}}\n' for n in (3, 40)
    )
    dataset = key_frames(
        rows=rows, labels=labels, custom_classes=[40], num_classes=2
    )
    assert len(dataset) == 1
    assert dataset.get_data_info(0)['gt_labels'].tolist() == [[0, 1]]


def test_label_file_that_mmaction2_cannot_read(key_frames):
    labels = 'item {\n    name: "sit"\n    id: 3\n}\n'
    with pytest.raises(ValueError, match='exactly two spaces'):
        key_frames(labels=labels)
    assert len(key_frames(labels=labels.replace('    ', '  '))) == 1


def test_label_file_without_the_annotated_actions(key_frames):
    labels = 'item {\n  name: "sit"\n  id: 7\n}\n'
    with pytest.raises(ValueError, match=r'1 of 1 actions in .*truth\.csv'):
        key_frames(labels=labels)


def _box(*numbers: float) -> np.ndarray:
    return np.array([numbers])


@pytest.mark.parametrize(
    ('detections', 'message'),
    [
        # Keys as of mmaction2 issue 652: the second not in four digits.
        ({f'{_VIDEO},1': _box(0.1, 0.2, 0.5, 0.9, 0.99)}, 'like .*,0001'),
        ({f'{_VIDEO},0001': _box(0.1, 0.2, 0.5, 0.9)}, 'and score'),
        ({f'{_VIDEO},0001': _box(16, 20, 80, 150, 0.99)}, 'from 0.99 to 150'),
        ({f'{_VIDEO},0001': _box(0.1, 0.2, 0.5, 0.9, 0.8)}, 'above'),
        ({}, 'none of the key frames'),
    ],
)
def test_bad_detections(key_frames, detections, message):
    with pytest.raises(ValueError, match=message) as caught:
        key_frames(detections=detections, person_det_score_thr=0.8)
    assert 'found.pkl' in str(caught.value)


def test_frames_without_confident_persons_are_left_out(key_frames):
    rows = [_ROW.replace('0001', f'000{second}') for second in (1, 2, 3)]
    sure = _box(0.1, 0.2, 0.5, 0.9, 0.81)
    unsure = _box(0.2, 0.3, 0.6, 0.9, 0.8)
    dataset = key_frames(
        rows=rows,
        detections={
            f'{_VIDEO},0001': np.concatenate([unsure, sure]),
            f'{_VIDEO},0002': unsure,
        },
        person_det_score_thr=0.8,
    )
    # mmaction2 alone: the unsure one in second 2, the whole frame in 3.
    assert [len(dataset), len(dataset.dataset)] == [1, 1]
    info = dataset.get_data_info(0)
    assert info['timestamp'] == 1
    np.testing.assert_array_equal(info['proposals'], sure[:, :4])
    sample = dataset[0]['data_samples']
    assert sample.proposals.bboxes.shape == (1, 4)
