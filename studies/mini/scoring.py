"""Scores of finetuned models and of frozen features.

Shapes: N clips, M views of each, C channels, T frames, H x W pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner
from torch import Tensor

from bimm_mm.apis import (
    FeatureOptions,
    Features,
    Fold,
    extract_features,
    probe,
    split_fold,
)
from bimm_mm.apis.feature_options import TRIVIAL as TRIVIAL_FEATURES
from bimm_mm.apis.trivial_features import TrivialFeatures
from studies.mini.data import read_list

PROBES = ('linear', 'knn')
Score = dict[str, Any]


class Answers(BaseMetric):
    """Keeps for every test clip whether the answer was right.

    Attributes:
        right (list[bool]): In the order of the list.
    """

    def __init__(self) -> None:
        super().__init__()
        self.right: list[bool] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Note a batch."""
        for sample in data_samples:
            answer = int(sample['pred_score'].argmax())
            self.results.append(answer == int(sample['gt_label']))

    def compute_metrics(self, results: list[bool]) -> dict[str, float]:
        """Keep the answers; the accuracy is another metric's."""
        self.right = list(results)
        return {}


def finetuned_score(runner: Runner, fold: Fold) -> Score:
    """Test a finetuned model.

    Args:
        runner (Runner): After training.
        fold (Fold): Its lists.

    Returns:
        dict: ``top1`` and ``majority`` in percent, ``n`` and ``correct`` by
        path.
    """
    answers = Answers()
    runner.test_loop.evaluator.metrics.append(answers)
    metrics = runner.test()
    paths = list(read_list(fold.val))
    return {
        'top1': 100 * float(metrics['acc/top1']),
        'n': len(paths),
        'majority': majority(fold),
        'correct': dict(zip(paths, answers.right, strict=True)),
    }


def majority(fold: Fold) -> float:
    """Percent right when the most frequent training class is the answer."""
    counts = Counter(read_list(fold.train).values())
    # The lower class, of several that are as frequent.
    answer = min(counts, key=lambda label: (-counts[label], label))
    labels = list(read_list(fold.val).values())
    return 100 * labels.count(answer) / len(labels)


def probe_scores(
    cfg: Config,
    checkpoint: str | None,
    fold: Fold,
    *,
    seed: int,
    device: str,
) -> dict[str, Score]:
    """Linear probe and k-NN of an encoder's frozen features.

    Args:
        cfg (Config): Of finetuning.
        checkpoint (str, optional): None: random weights.
        fold (Fold): Its lists.
        seed (int): Of random weights.
        device (str): Where the encoder runs.

    Returns:
        dict[str, dict]: By name of the probe.
    """
    halves = [
        extract_features(
            cfg,
            checkpoint,
            FeatureOptions(
                split=split, pipeline='test', device=device, seed=seed
            ),
        )
        for split in ('train', 'test')
    ]
    return _scores(*halves, fold, suffix='')


def trivial_scores(cfg: Config, fold: Fold) -> dict[str, Score]:
    """Linear probe and k-NN of features without learning.

    They see the test clips as the encoder does, and before normalization.

    Args:
        cfg (Config): Of finetuning.
        fold (Fold): Its lists.

    Returns:
        dict[str, dict]: By ``'<probe>:<feature>'``.
    """
    init_default_scope(cfg.default_scope)
    preprocessor = MODELS.build(
        dict(cfg.model.data_preprocessor, mean=(0, 0, 0), std=(255, 255, 255))
    )
    scores = {}
    for kind in TRIVIAL_FEATURES:
        halves = [
            _trivial(preprocessor, loader.dataset, kind)
            for loader in (cfg.train_dataloader, cfg.test_dataloader)
        ]
        name = f':{kind.replace("-", "_")}'
        scores |= _scores(*halves, fold, suffix=name)
    return scores


def _scores(
    train: Features, test: Features, fold: Fold, *, suffix: str
) -> dict[str, Score]:
    both = _join(train, test)
    train, test = split_fold(both, fold)
    scores = {}
    for method in PROBES:
        score = probe(train, test, method=method, fold=fold.name)
        scores[f'{method}{suffix}'] = {
            'top1': score.top1,
            'n': score.val,
            'majority': score.majority,
            'correct': None,
        }
    return scores


def _join(first: Features, second: Features) -> Features:
    """Features of both halves of a fold."""
    arrays = {
        name: torch.cat(
            [torch.from_numpy(part.arrays[name]) for part in (first, second)]
        ).numpy()
        for name in first.arrays
    }
    labels = [*first.labels.tolist(), *second.labels.tolist()]
    return Features(
        arrays,
        torch.tensor(labels).numpy(),
        [*first.paths, *second.paths],
        first.meta,
    )


def _trivial(
    preprocessor: torch.nn.Module, config: dict, kind: str
) -> Features:
    """Trivial features of a dataset of numbers of videos."""
    dataset = DATASETS.build(config)
    samples = [dataset[index] for index in range(len(dataset))]
    batch = {'inputs': [sample['inputs'] for sample in samples]}
    # (N, M, C, T, H, W) in [0, 1]
    clips: Tensor = preprocessor(batch | {'data_samples': None})['inputs']
    features = TrivialFeatures(kind)
    folder = dataset.data_prefix['video'].rstrip('/') + '/'
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    return Features(
        features(list(clips)),
        torch.tensor([info['label'] for info in infos]).numpy(),
        [info['filename'].removeprefix(folder) for info in infos],
        features.meta,
    )
