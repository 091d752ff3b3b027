"""Key frames of AVA, and who counts as a person on them."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from torch.utils.data import Dataset

from bimm_mm.datasets.ava_files import (
    check_annotations,
    check_detections,
    check_label_file,
)
from bimm_mm.datasets.sampler import Draw
from bimm_mm.registry import DATASETS
from bimm_mm.utils.random_state import seeded


@DATASETS.register_module()
class AVAKeyframeDataset(Dataset):
    """Wraps mmaction2's ``AVADataset``: checked files, confident persons.

    With a ``proposal_file`` only detections whose score is *above*
    ``person_det_score_thr`` remain, and key frames without any are left out:
    nothing is predicted there, so that their actions count as missed, as in
    SlowFast and AIA. The bare dataset takes the best detection however low
    its score, and where there is none the whole frame as a person of score 1.

    Given a :class:`bimm_mm.Draw` (see :class:`bimm_mm.EpochSampler`) instead
    of an index, a sample and its augmentations depend on nothing else.

    Args:
        dataset (Mapping): Config of the ``AVADataset``.

    Raises:
        FileNotFoundError: If a file or the first clip does not exist.
        ValueError: If a file cannot be meant like that.
    """

    def __init__(self, dataset: Mapping[str, Any]) -> None:
        self.dataset = _build(dataset)
        if self.dataset.proposals is not None:
            _keep_confident(self.dataset)
        _check_first(self.dataset)

    @property
    def metainfo(self) -> dict[str, Any]:
        """Metainfo of the wrapped dataset."""
        return self.dataset.metainfo

    def get_data_info(self, index: int) -> dict[str, Any]:
        """What the wrapped dataset knows about a sample before decoding."""
        return self.dataset.get_data_info(index)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw | int) -> dict[str, Any]:
        """One clip around a key frame.

        Args:
            draw (Draw | int): A draw, or an index, with which the sample's
                randomness is that of the process.

        Returns:
            dict: ``inputs`` and ``data_samples``.
        """
        if isinstance(draw, Draw):
            with seeded(draw.seed, draw.epoch, draw.index):
                return self.dataset[draw.index]
        return self.dataset[draw]


def _build(config: Mapping[str, Any]) -> BaseDataset:
    """The ``AVADataset``, after a look at its files."""
    lasts = (config.get('timestamp_start', 900), config.get('timestamp_end'))
    check_annotations(
        osp.join(config.get('data_root') or '', config['ann_file']),
        num_classes=config.get('num_classes', 81),
        seconds=(lasts[0], 1800 if lasts[1] is None else lasts[1]),
        custom_classes=config.get('custom_classes'),
    )
    if config.get('label_file'):
        check_label_file(config['label_file'])
    return DATASETS.build(config)


def _keep_confident(dataset: BaseDataset) -> None:
    """Leave out persons, and then key frames, that are not sure enough."""
    path, least = dataset.proposal_file, dataset.person_det_score_thr
    frames = [_name(dataset, index) for index in range(len(dataset))]
    check_detections(dataset.proposals, path, frames)
    confident = {}
    for frame in frames:
        boxes = np.asarray(dataset.proposals.get(frame, np.zeros((0, 5))))
        if (boxes[:, 4] > least).any():
            confident[frame] = boxes[boxes[:, 4] > least]
    if not confident:
        raise ValueError(
            f'{path} has no person with a score above '
            f'person_det_score_thr={least} on any of the {len(frames)} key '
            'frames: lower it, or have the scores in [0, 1] right'
        )
    dataset.proposals = confident
    dataset.get_subset_(
        [index for index, frame in enumerate(frames) if frame in confident]
    )
    print_log(
        f'{len(confident)} of {len(frames)} key frames have a person with a '
        f'score above {least}; actions on the others count as missed',
        'current',
    )


def _name(dataset: BaseDataset, index: int) -> str:
    # Without AVADataset's own part, which looks at the detections.
    return BaseDataset.get_data_info(dataset, index)['img_key']


def _check_first(dataset: BaseDataset) -> None:
    """Notice a wrong folder before the workers do."""
    info = dataset.get_data_info(0)
    path = info['frame_dir' if dataset.use_frames else 'filename']
    # mmaction2's DecordInit adds .mp4 to names without an ending.
    if not (osp.exists(path) or osp.exists(f'{path}.mp4')):
        raise FileNotFoundError(
            f'{path} does not exist, which {dataset.ann_file} is about: set '
            'data_prefix.img of the dataset to the folder of the '
            f'{"frame folders" if dataset.use_frames else "videos"}'
        )
