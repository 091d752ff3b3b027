"""Do the losses of areas pull the same weights in the same direction?

Shapes: A losses, K parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

# One tensor per parameter; None where the loss does not reach it.
Gradient = Sequence[Tensor | None]


def loss_gradients(
    losses: Mapping[str, Tensor], parameters: Sequence[Tensor]
) -> dict[str, Gradient]:
    """Gradient of every loss on its own; no ``.grad`` is written.

    Args:
        losses (Mapping[str, Tensor]): A scalars, which may share a graph.
        parameters (Sequence[Tensor]): K leaves.

    Returns:
        dict[str, Gradient]: By the loss's name, K tensors or None.
    """
    return {
        name: torch.autograd.grad(
            loss, parameters, retain_graph=True, allow_unused=True
        )
        for name, loss in losses.items()
    }


def gradient_norm(gradient: Gradient) -> float:
    """Euclidean norm over all parameters, at least 0."""
    return _dot(gradient, gradient) ** 0.5


def cosine(one: Gradient, other: Gradient) -> float | None:
    """Cosine between two gradients, at the parameters that both reach.

    Where only one of two losses reaches a parameter, the other has no say
    there: counting it would only make every cosine smaller.

    Args:
        one (Gradient): K tensors or None.
        other (Gradient): Of the same parameters.

    Returns:
        float | None: In [-1, 1]; None if they reach no parameter in common or
        one of them is zero there.
    """
    both = [
        (a, b)
        for a, b in zip(one, other, strict=True)
        if a is not None and b is not None
    ]
    first, second = [a for a, _ in both], [b for _, b in both]
    scale = (_dot(first, first) * _dot(second, second)) ** 0.5
    if scale == 0:
        return None
    return min(1.0, max(-1.0, _dot(first, second) / scale))


def cosine_matrix(
    gradients: Mapping[str, Gradient],
) -> list[list[float | None]]:
    """Cosines between all gradients.

    Args:
        gradients (Mapping[str, Gradient]): A, by name.

    Returns:
        list[list[float | None]]: A rows of A, in the order of the names.
    """
    rows = list(gradients.values())
    size = len(rows)
    matrix: list[list[float | None]] = [[None] * size for _ in rows]
    for i in range(size):
        for j in range(i, size):
            matrix[i][j] = matrix[j][i] = cosine(rows[i], rows[j])
    return matrix


def _dot(one: Gradient, other: Gradient) -> float:
    """Scalar product in float64: of millions of small numbers."""
    products = [
        torch.dot(a.flatten().double(), b.flatten().double())
        for a, b in zip(one, other, strict=True)
        if a is not None and b is not None
    ]
    return float(torch.stack(products).sum()) if products else 0.0
