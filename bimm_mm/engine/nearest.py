"""k-NN accuracy: do neighbors in feature space have the same label?

Shapes: n samples, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dataset import default_collate
from torch import Tensor

from bimm_mm.registry import DATASETS

# mmaction2's name and mmpretrain's.
_LABELS = ('label', 'gt_label')


def knn_accuracy(features: Tensor, labels: Tensor, k: int) -> float:
    """Leave-one-out: every sample is judged by its k nearest others.

    Nearest by cosine similarity, equal votes; of classes with equal votes
    the one with the lower number wins, as in scikit-learn.

    Args:
        features (Tensor): (n, D).
        labels (Tensor): (n,), int64, at least 0.
        k (int): Neighbors, 1 to n - 1.

    Returns:
        float: Accuracy in [0, 1].

    Raises:
        ValueError: If there are not more than ``k`` samples.
    """
    if not 1 <= k < len(features):
        raise ValueError(
            f'k={k} neighbors of {len(features)} samples: choose 1 to '
            f'{len(features) - 1}, or give more samples'
        )
    directions = F.normalize(features.double(), dim=1)
    similarity = directions @ directions.T
    similarity.fill_diagonal_(-float('inf'))
    neighbors = similarity.topk(k, dim=1).indices
    votes = F.one_hot(labels[neighbors]).sum(1)
    return float((votes.argmax(1) == labels).double().mean())


class LabelledSet:
    """A small labelled data set, from the config ``knn`` of the hook.

    Give one clip per video: clips of one video find each other, whatever
    the features are.

    Args:
        dataset (dict | Dataset): A dataset with labels, or its config; its
            pipeline ends in :class:`bimm_mm.PackClipInputs` and should have no
            random augmentation.
        k (int): Neighbors. Defaults to 20.
        batch_size (int): Samples encoded at a time. Defaults to 8.

    Raises:
        ValueError: If a sample has no label, or there are too few samples
            or classes.
    """

    def __init__(
        self, dataset: Any, *, k: int = 20, batch_size: int = 8
    ) -> None:
        if batch_size < 1:
            raise ValueError(f'knn: batch_size={batch_size} must be above 0')
        self.dataset = (
            DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        )
        size = len(self.dataset)
        if not 1 <= k < size:
            raise ValueError(
                f'knn: k={k}, but the dataset has {size} samples: choose k '
                'from 1 to one less than that'
            )
        self.k = k
        self.batch_size = batch_size
        self.labels = torch.tensor([self._label(i) for i in range(size)])
        if len(self.labels.unique()) < 2:
            raise ValueError(
                'knn: all samples of the dataset have the same label: give '
                'a set with at least two classes'
            )

    @property
    def majority(self) -> float:
        """Share of the most frequent class, in [0, 1]."""
        return float(self.labels.bincount().max()) / len(self.labels)

    def batches(
        self, collate: Callable = default_collate
    ) -> Iterator[dict[str, Any]]:
        """All samples in order, ``batch_size`` at a time."""
        for start in range(0, len(self.labels), self.batch_size):
            stop = min(start + self.batch_size, len(self.labels))
            yield collate([self.dataset[i] for i in range(start, stop)])

    def _label(self, index: int) -> int:
        info = self.dataset.get_data_info(index)
        for key in _LABELS:
            if key in info and int(info[key]) >= 0:
                return int(info[key])
        raise ValueError(
            f'knn: sample {index} of the dataset has no label (none of '
            f'{", ".join(_LABELS)} that is at least 0): give a labelled '
            'dataset, or leave out knn'
        )
