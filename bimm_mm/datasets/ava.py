"""AVA's key frames: files checked, persons by their scores.

The mistakes that are refused here, and those in the annotations
(:mod:`bimm_mm.utils.list_file`), train with a falling loss and end in a
mean average precision of 0, or fail after the first epoch.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.fileio import list_from_file
from mmengine.logging import print_log

from bimm_mm.datasets.wrappers import DatasetWrapper
from bimm_mm.registry import DATASETS


@DATASETS.register_module()
class AVAKeyframeDataset(DatasetWrapper):
    """Wraps mmaction2's ``AVADataset``: checked files, confident persons.

    With a ``proposal_file`` only detections whose score is *above*
    ``person_det_score_thr`` remain, and key frames without any are left out:
    nothing is predicted there, so that their actions count as missed, as in
    SlowFast and AIA. The bare dataset takes the best detection however low its
    score, and where there is none the whole frame as a person of score 1.
    ``dataset`` is the config of the ``AVADataset``.

    Raises:
        ValueError: If a label file or a file of detections does not fit.
    """

    def __init__(self, dataset: Mapping[str, Any]) -> None:
        label_file = dataset.get('label_file')
        known = _read_label_file(label_file) if label_file else set()
        super().__init__(dataset)
        if known and dataset.get('custom_classes') is None:
            _check_actions(self.dataset, known)
        if self.dataset.proposals is not None:
            _keep_confident(self.dataset)


def _read_label_file(path: str) -> set[int]:
    """Actions that mmaction2 finds in a label file (pbtxt).

    Its reader wants exactly two spaces before ``name:`` and ``id:`` (or
    ``label_id:``); otherwise it finds nothing, and evaluation fails after the
    first epoch.
    """
    # Not above, since images are loaded without mmaction2.
    from mmaction.evaluation import read_labelmap

    _, found = read_labelmap(list_from_file(path))
    if not found:
        raise ValueError(
            f'mmaction2 finds no action in the label file {path}: an entry '
            'is "item {", "  name: \\"sit\\"", "  id: 11", "}", each on a '
            'line of its own, name and id after exactly two spaces'
        )
    return found


def _check_actions(dataset: BaseDataset, known: set[int]) -> None:
    """Say which actions are annotated and never evaluated."""
    used: set[int] = set()
    for index in range(len(dataset)):
        labels = BaseDataset.get_data_info(dataset, index)['ann']['gt_labels']
        several = dataset.multilabel
        used.update(np.nonzero(labels)[1] if several else labels.ravel())
    text = (
        f'{len(used - known)} of {len(used)} actions in {dataset.ann_file} '
        f'are not in {dataset.label_file}, and not evaluated'
    )
    if not used & known:
        raise ValueError(f'{text}: the files do not belong together')
    if used - known:
        print_log(text, 'current', logging.WARNING)


def _check_detections(
    detections: Mapping[str, np.ndarray], path: str, frames: Collection[str]
) -> None:
    """Check detected persons, (n, 5) by key frame, against the key frames.

    mmaction2 takes the whole frame for a person where the file lacks a key
    frame, hence everywhere if the names are written differently.
    """
    for frame, boxes in detections.items():
        boxes = np.asarray(boxes)
        if boxes.ndim != 2 or boxes.shape[1] != 5:
            raise ValueError(
                f'{path}: {frame!r} has an array of shape {boxes.shape}, '
                'expected (n, 5): x1, y1, x2, y2 and score'
            )
        if boxes.size and not (boxes.min() >= 0 and boxes.max() <= 1):
            raise ValueError(
                f'{path}: {frame!r} has numbers from {boxes.min():g} to '
                f'{boxes.max():g}: give corners in shares of width and '
                'height, and scores, all in [0, 1]'
            )
    if not any(frame in detections for frame in frames):
        raise ValueError(
            f'{path} has none of the key frames: it names them like '
            f'{next(iter(detections), None)!r}, the annotations like '
            f'{next(iter(frames))!r} (video, second of four digits)'
        )


def _keep_confident(dataset: BaseDataset) -> None:
    """Leave out persons, and then key frames, that are not sure enough."""
    path, threshold = dataset.proposal_file, dataset.person_det_score_thr
    # Not AVADataset's own get_data_info, which looks at the detections.
    frames = [
        BaseDataset.get_data_info(dataset, index)['img_key']
        for index in range(len(dataset))
    ]
    _check_detections(dataset.proposals, path, frames)
    confident = {}
    for frame in frames:
        boxes = np.asarray(dataset.proposals.get(frame, np.zeros((0, 5))))
        if (boxes[:, 4] > threshold).any():
            confident[frame] = boxes[boxes[:, 4] > threshold]
    if not confident:
        raise ValueError(
            f'{path} has no person with a score above '
            f'person_det_score_thr={threshold} on any of the {len(frames)} '
            'key frames: lower it, or have the scores in [0, 1] right'
        )
    dataset.proposals = confident
    dataset.get_subset_(
        [index for index, frame in enumerate(frames) if frame in confident]
    )
    print_log(
        f'{len(confident)} of {len(frames)} key frames have a person with a '
        f'score above {threshold}; actions on the others count as missed',
        'current',
    )
