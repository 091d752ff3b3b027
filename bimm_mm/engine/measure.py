"""One measurement: numbers that tell why an area does not help.

Shapes: B samples, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from bimm_mm.engine.diagnosed_model import (
    block_features,
    branches,
    seen_by,
    shared_blocks,
    weighted_losses,
)
from bimm_mm.engine.gradients import (
    cosine_matrix,
    gradient_norm,
    loss_gradients,
)
from bimm_mm.engine.metrics import area_metrics
from bimm_mm.engine.nearest import LabelledSet, knn_accuracy
from bimm_mm.engine.rank import spread_rank
from bimm_mm.models.pretrainers.bimm import BIMM
from bimm_mm.models.pretrainers.masked_branch import MaskedBranch
from bimm_mm.structures import ClipBatch


def measure_areas(
    model: MaskedBranch | BIMM, clips: ClipBatch
) -> dict[str, Any]:
    """Losses, and gradients at the shared blocks, of one masked batch.

    Args:
        model (MaskedBranch | BIMM): In evaluation mode.
        clips (ClipBatch): B samples.

    Returns:
        dict[str, Any]: ``areas``, by name what
        :class:`~bimm_mm.engine.AreaLoss` tells; ``gradient_norm``, by name;
        ``cosine``, a matrix in the order of these names, None for one area;
        ``shared``, numbers of the blocks by branch.
    """
    outputs = model.predict(clips)
    blocks, numbers = shared_blocks(model)
    parameters = [
        parameter
        for block in blocks
        for parameter in block.parameters()
        if parameter.requires_grad
    ]
    losses = weighted_losses(model, outputs)
    gradients = loss_gradients(losses, parameters)
    return {
        'areas': area_metrics(outputs),
        'gradient_norm': {
            name: gradient_norm(gradient)
            for name, gradient in gradients.items()
        },
        'cosine': cosine_matrix(gradients) if len(gradients) > 1 else None,
        'shared': numbers,
    }


def measure_rank(
    model: MaskedBranch | BIMM, clips: ClipBatch
) -> dict[str, dict[str, Any]]:
    """Effective rank of the tokens after every block, nothing masked.

    Args:
        model (MaskedBranch | BIMM): In evaluation mode.
        clips (ClipBatch): B samples.

    Returns:
        dict[str, dict]: By branch ``blocks``, one number per block, and
        ``limit``, min(B * N - 1, D), beyond which none can be.
    """
    ranks = {}
    for prefix, seen in seen_by(model, clips).items():
        features = block_features(branches(model)[prefix], seen)
        tokens = [x.flatten(0, 1) for x in features.values()]
        ranks[prefix] = {
            'blocks': [spread_rank(x) for x in tokens],
            'limit': min(len(tokens[0]) - 1, tokens[0].shape[1]),
        }
    return ranks


def measure_knn(
    model: MaskedBranch | BIMM,
    labelled: LabelledSet,
    stimuli: Iterable[ClipBatch],
) -> dict[str, Any]:
    """k-NN accuracy of the mean patch token after every block.

    Args:
        model (MaskedBranch | BIMM): In evaluation mode.
        labelled (LabelledSet): Labels and k.
        stimuli (Iterable[ClipBatch]): All samples of the set, in its order.

    Returns:
        dict[str, Any]: ``blocks``, by branch one accuracy in [0, 1] per
        block; ``majority``, that of always answering the most frequent
        class; ``k``; ``samples``.

    Raises:
        ValueError: If samples do not give one clips each.
    """
    pooled: dict[str, list[list[torch.Tensor]]] = {}
    for clips in stimuli:
        for prefix, seen in seen_by(model, clips).items():
            features = block_features(branches(model)[prefix], seen)
            means = [x.mean(1).cpu() for x in features.values()]
            pooled.setdefault(prefix, []).append(means)
    accuracy = {}
    for prefix, parts in pooled.items():
        blocks = [torch.cat(block) for block in zip(*parts, strict=True)]
        if len(blocks[0]) != len(labelled.labels):
            raise ValueError(
                f'knn: {len(labelled.labels)} samples gave {len(blocks[0])} '
                'clips: use a pipeline with one crop of each sample'
            )
        accuracy[prefix] = [
            knn_accuracy(x, labelled.labels, labelled.k) for x in blocks
        ]
    return {
        'blocks': accuracy,
        'majority': labelled.majority,
        'k': labelled.k,
        'samples': len(labelled.labels),
    }
