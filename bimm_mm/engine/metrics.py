"""How well areas predict, against predicting nothing but the mean.

Shapes: B samples, N tokens, Nh scored tokens, P numbers per token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from torch import Tensor

from bimm_mm.registry import METRICS
from bimm_mm.structures import AreaOutput

# Sums over the scored tokens of an area: ``tokens``, ``error`` (squared),
# ``total`` and ``squares`` (P,) of the target; of codes ``cross_entropy`` and
# the target's metrics.
Sums = dict[str, Tensor]


def area_metrics(
    outputs: Mapping[str, AreaOutput],
) -> dict[str, dict[str, float]]:
    """Metrics of :class:`AreaLoss` by area, of one batch and process."""
    return {name: _metrics(_sums(output)) for name, output in outputs.items()}


def _sums(output: AreaOutput) -> Sums:
    """Sums over the scored tokens of one batch, in float64."""
    tokens = torch.tensor(output.target.shape[:2].numel())
    if not output.target.is_floating_point():
        # Classes: there is no mean to compare with.
        assert output.loss is not None, 'outputs come of mode=predict'
        means = {'cross_entropy': output.loss, **output.metrics}
        sums = {
            name: tokens * x.detach().double() for name, x in means.items()
        }
        return {'tokens': tokens, **sums}
    # Squares of float32 would cancel in the variance of a target whose mean
    # is far from zero.
    target = output.target.flatten(0, 1).double()  # (B * Ns, P)
    error = output.prediction.detach().flatten(0, 1).double() - target
    return {
        'tokens': tokens,
        'error': error.square().sum(),
        'total': target.sum(0),
        'squares': target.square().sum(0),
    }


def _metrics(sums: Sums) -> dict[str, float]:
    """Metrics of one area: means over the scored tokens."""
    means = {name: x / sums['tokens'] for name, x in sums.items()}
    del means['tokens']
    if 'squares' not in means:
        return {name: float(mean) for name, mean in means.items()}
    mse = float(means['error'] / len(means['total']))
    variance = means['squares'] - means['total'].square()
    mean_mse = float(variance.clamp(min=0).mean())
    ratio = mse / mean_mse if mean_mse else float('inf')
    return {'mse': mse, 'mean_mse': mean_mse, 'ratio': ratio}


@METRICS.register_module()
class AreaLoss(BaseMetric):
    """Per area: its loss, the loss of the target's mean, and their ratio.

    ``V1/mse`` is the mean squared error over scored tokens, the loss of
    training without the area's weight. (A name with "loss" in it would be
    logged as the mean over all validations so far: mmengine's
    ``LogProcessor`` smooths whatever is called so.)

    ``V1/mean_mse`` is that of the best constant: at every scored token the
    vector (P,) that is the target's mean over all scored tokens of the
    evaluated data. A ``V1/ratio`` of 1 means nothing was learned but that
    mean; below 1 the visible tokens were used.

    Codes of a tokenizer are classes: their metrics are
    ``appearance/cross_entropy`` and ``appearance/accuracy``.

    Over several ranks the sums are added before anything is divided. A
    sampler that fills up the last batch with repeated samples counts them
    twice; ``round_up=False`` in the validation sampler avoids it.
    """

    # Not None, or mmengine warns that names have no prefix. They have one:
    # the area.
    default_prefix = ''

    def __init__(self) -> None:
        super().__init__()
        self._sums: dict[str, Sums] = {}

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Add one batch: outputs by area, which ``mode='predict'`` gives."""
        for outputs in data_samples:
            sums = {name: _sums(output) for name, output in outputs.items()}
            self._sums = _added(self._sums, sums)

    def compute_metrics(
        self, results: Sequence[dict[str, Sums]]
    ) -> dict[str, float]:
        """Metrics of all areas, from the sums of every rank."""
        return {
            f'{name}/{key}': value
            for name, sums in reduce(_added, results).items()
            for key, value in _metrics(sums).items()
        }

    def evaluate(self, size: int) -> dict[str, float]:
        """Collect the sums of all ranks and compute.

        mmengine's own would gather a list with one entry per sample and cut
        it to ``size``; one entry per rank is all that is needed here. Raises
        a ValueError if no batch was processed.
        """
        mine = {
            name: {key: value.cpu() for key, value in sums.items()}
            for name, sums in self._sums.items()
        }
        self._sums = {}
        metrics = self.compute_metrics(all_gather_object(mine))
        if not metrics:
            raise ValueError(
                'bimm_mm.AreaLoss saw no predictions: the validation set is '
                'empty, or the model is no bimm_mm pretraining model'
            )
        return metrics


def _added(one: dict[str, Sums], other: dict[str, Sums]) -> dict[str, Sums]:
    """Sums of two batches, or of two ranks."""
    added = {name: dict(sums) for name, sums in one.items()}
    for name, sums in other.items():
        known = added.setdefault(name, {})
        for key, value in sums.items():
            known[key] = known[key] + value if key in known else value
    return added
