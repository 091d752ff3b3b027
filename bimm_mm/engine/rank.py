"""How many directions features use.

Shapes: n vectors of D numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor


def effective_rank(matrix: Tensor) -> float:
    """Exponential of the entropy of the normalized singular values.

    Roy and Vetterli, "The effective rank: a measure of effective
    dimensionality", EUSIPCO 2007, Definition 1. It is r for a matrix with r
    equal singular values and less where some are small.

    Args:
        matrix (Tensor): (n, D).

    Returns:
        float: Between 1 and min(n, D); 0 for a matrix of zeros, for which
        the paper has none.

    Raises:
        ValueError: If the matrix has another number of dimensions, or an
            entry that is not finite.
    """
    if matrix.ndim != 2:
        raise ValueError(
            f'effective_rank takes a matrix (n, D), got {tuple(matrix.shape)}'
        )
    matrix = matrix.detach().double()
    if not torch.isfinite(matrix).all():
        raise ValueError('the features are not finite: the training diverged')
    # The Gram matrix of the shorter side has the squares of the singular
    # values; for 12544 tokens of width 768 that is much less work.
    if matrix.shape[0] < matrix.shape[1]:
        matrix = matrix.T
    squares = torch.linalg.eigvalsh(matrix.T @ matrix)
    values = squares.clamp(min=0).sqrt()
    if not values.sum() > 0:
        return 0.0
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def spread_rank(features: Tensor) -> float:
    """Effective rank of how vectors differ from their mean.

    The mean is taken off first: a vector that all tokens have in common
    tells them not apart, and is by far the largest direction of a residual
    stream. Roy and Vetterli do not do so.

    Args:
        features (Tensor): (n, D).

    Returns:
        float: Between 1 and min(n - 1, D); 0 if all vectors are equal.
    """
    features = features.detach().double()
    centered = features - features.mean(0)
    # Equal vectors leave rounding errors behind, which have a rank of their
    # own.
    if centered.abs().max() <= 1e-6 * features.abs().max():
        return 0.0
    return effective_rank(centered)
