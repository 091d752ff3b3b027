"""How well areas predict, against predicting nothing but the mean.

Shapes: B samples, N tokens, Nh scored tokens, P numbers per token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from torch import Tensor

from bimm_mm.registry import METRICS
from bimm_mm.structures import AreaOutput


@dataclass
class _Sums:
    """Sums over scored tokens, from which every number below follows.

    Args:
        tokens: Number of scored tokens.
        error: (), sum of squared errors over tokens and P.
        total: (P,), sum of the targets.
        squares: (P,), sum of the squared targets.
    """

    tokens: int
    error: Tensor
    total: Tensor
    squares: Tensor

    @classmethod
    def of(cls, prediction: Tensor, target: Tensor) -> _Sums:
        """Sums of one batch, both arguments (B, Nh, P), in float64."""
        # Squares of float32 would cancel in the variance of a target whose
        # mean is far from zero.
        target = target.flatten(0, 1).double()
        error = prediction.flatten(0, 1).double() - target
        return cls(
            tokens=len(target),
            error=error.square().sum(),
            total=target.sum(0),
            squares=target.square().sum(0),
        )

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(
            self.tokens + other.tokens,
            self.error + other.error,
            self.total + other.total,
            self.squares + other.squares,
        )

    def cpu(self) -> _Sums:
        """Off the device, to be sent to other ranks."""
        return _Sums(
            self.tokens,
            self.error.cpu(),
            self.total.cpu(),
            self.squares.cpu(),
        )

    def metrics(self) -> dict[str, float]:
        """Error, error of the mean, and their ratio."""
        mse = float(self.error) / (self.tokens * len(self.total))
        mean = self.total / self.tokens
        variance = self.squares / self.tokens - mean.square()
        mean_mse = float(variance.clamp(min=0).mean())
        ratio = mse / mean_mse if mean_mse else float('inf')
        return {'mse': mse, 'mean_mse': mean_mse, 'ratio': ratio}


@dataclass
class _Means:
    """Sums over scored tokens, for targets that are classes.

    Args:
        tokens: Number of scored tokens.
        sums: () each, by what is averaged.
    """

    tokens: int
    sums: dict[str, Tensor]

    @classmethod
    def of(cls, output: AreaOutput) -> _Means:
        """Sums of one batch."""
        tokens = output.scored.numel()
        assert output.loss is not None, 'outputs come of mode=predict'
        means = {'cross_entropy': output.loss, **output.metrics}
        sums = {key: tokens * x.detach().double() for key, x in means.items()}
        return cls(tokens, sums)

    def __add__(self, other: _Means) -> _Means:
        sums = {key: x + other.sums[key] for key, x in self.sums.items()}
        return _Means(self.tokens + other.tokens, sums)

    def cpu(self) -> _Means:
        """Off the device, to be sent to other ranks."""
        sums = {key: x.cpu() for key, x in self.sums.items()}
        return _Means(self.tokens, sums)

    def metrics(self) -> dict[str, float]:
        """Means over the scored tokens."""
        return {key: float(x) / self.tokens for key, x in self.sums.items()}


def area_metrics(
    outputs: Mapping[str, AreaOutput],
) -> dict[str, dict[str, float]]:
    """Metrics of :class:`AreaLoss`, of one batch and this process alone.

    Args:
        outputs: By area name.

    Returns:
        By area ``mse``, ``mean_mse`` and ``ratio``; of codes
        ``cross_entropy`` and the target's metrics.
    """
    return {
        name: _sums_of(output).metrics() for name, output in outputs.items()
    }


def _sums_of(output: AreaOutput) -> _Sums | _Means:
    """Sums of one batch, by the kind of target."""
    if output.target.is_floating_point():
        return _Sums.of(output.prediction.detach(), output.target)
    return _Means.of(output)


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

    Args:
        prefix: Put before every name, with a slash; None for nothing.
    """

    # Not None, or mmengine warns that names have no prefix. They have one:
    # the area.
    default_prefix = ''

    def __init__(self, prefix: str | None = None) -> None:
        super().__init__(prefix=prefix)
        self._sums: dict[str, Any] = {}

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Add one batch.

        Args:
            data_batch: Not used.
            data_samples: What the model returned with
                ``mode='predict'``: dicts from area names to
                :class:`~bimm_mm.structures.AreaOutput`.
        """
        for outputs in data_samples:
            for name, output in outputs.items():
                self._add(name, _sums_of(output))

    def _add(self, name: str, sums: _Sums | _Means) -> None:
        known = self._sums.get(name)
        self._sums[name] = sums if known is None else known + sums

    def compute_metrics(
        self, results: Sequence[Mapping[str, _Sums | _Means]]
    ) -> dict[str, float]:
        """Metrics of all areas.

        Args:
            results: One entry per rank.

        Returns:
            ``<area>/mse``, ``<area>/mean_mse`` and ``<area>/ratio``; of codes
            ``<area>/cross_entropy`` and ``<area>/accuracy``.
        """
        self._sums = {}
        for sums_of_rank in results:
            for name, sums in sums_of_rank.items():
                self._add(name, sums)
        merged, self._sums = self._sums, {}
        return {
            f'{name}/{key}': value
            for name, sums in merged.items()
            for key, value in sums.metrics().items()
        }

    def evaluate(self, size: int) -> dict[str, float]:
        """Collect the sums of all ranks and compute.

        mmengine's own would gather a list with one entry per sample and cut
        it to ``size``; one entry per rank is all that is needed here.

        Args:
            size: Number of samples in the dataset. Not used.

        Raises:
            ValueError: If no batch was processed.
        """
        mine = {name: sums.cpu() for name, sums in self._sums.items()}
        metrics = self.compute_metrics(all_gather_object(mine))
        if not metrics:
            raise ValueError(
                'bimm_mm.AreaLoss saw no predictions: the validation set is '
                'empty, or the model is no bimm_mm pretraining model'
            )
        if self.prefix:
            metrics = {f'{self.prefix}/{k}': v for k, v in metrics.items()}
        return metrics
