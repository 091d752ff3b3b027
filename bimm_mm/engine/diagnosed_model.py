"""What a diagnosis has to know about both kinds of pretraining models.

Shapes: B clips or images, T frames.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch
from mmengine.model import is_model_wrapper
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bimm_mm.models.pretrainers.bimm import BIMM
from bimm_mm.models.pretrainers.masked_branch import MaskedBranch
from bimm_mm.structures import AreaOutput, ClipBatch


def unwrap(model: nn.Module) -> MaskedBranch | BIMM:
    """The pretraining model behind what the runner trains.

    Args:
        model (nn.Module): The runner's, wrapped for several processes or not.

    Returns:
        MaskedBranch | BIMM: The model itself.

    Raises:
        ValueError: If it is neither, or spread over processes.
    """
    if is_model_wrapper(model):
        if not isinstance(model, DistributedDataParallel):
            raise ValueError(
                'bimm_mm.DiagnosisHook needs all weights on rank 0, but '
                f'{type(model).__name__} spreads them: train with '
                'MMDistributedDataParallel or without the hook'
            )
        model = model.module
    if not isinstance(model, MaskedBranch | BIMM):
        raise ValueError(
            'bimm_mm.DiagnosisHook knows bimm_mm.MaskedBranch and '
            f'bimm_mm.BIMM, not {type(model).__name__}: remove it from '
            'custom_hooks'
        )
    return model


def branches(model: MaskedBranch | BIMM) -> dict[str, MaskedBranch]:
    """Branches by what precedes their areas' names; '' for a single one."""
    if isinstance(model, BIMM):
        return {'ventral_': model.ventral, 'dorsal_': model.dorsal}
    return {'': model}


def weighted_losses(
    model: MaskedBranch | BIMM, outputs: Mapping[str, AreaOutput]
) -> dict[str, Tensor]:
    """Losses by area as training adds them up (eq. 2, 3 and 4).

    Args:
        model (MaskedBranch | BIMM): The model.
        outputs (Mapping[str, AreaOutput]): Of its ``forward_areas``.

    Returns:
        dict[str, Tensor]: Scalars with gradient.
    """
    factors = {'': 1.0, 'ventral_': 1.0}
    if isinstance(model, BIMM):
        factors['dorsal_'] = model.dorsal_weight
    losses = {}
    for prefix, branch in branches(model).items():
        for name, area in branch.head.areas.items():
            weight = factors[prefix] * area.weight
            losses[prefix + name] = weight * area.loss(outputs[prefix + name])
    return losses


def shared_blocks(
    model: MaskedBranch | BIMM,
) -> tuple[list[nn.Module], dict[str, list[int]]]:
    """The blocks at which gradients of areas meet.

    Of BIMM those that both encoders share and that at least two areas reach;
    of a single branch, or where nothing is shared, those that at least two
    areas reach. If there are none, all that any area reaches.

    Args:
        model (MaskedBranch | BIMM): The model.

    Returns:
        tuple: The blocks, each once, and their numbers, from 1, by branch.
    """
    reached: Counter[nn.Module] = Counter()
    encoders: Counter[nn.Module] = Counter()
    for branch in branches(model).values():
        blocks = list(branch.backbone.blocks)
        encoders.update(blocks)
        for area in branch.head.areas.values():
            reached.update(blocks[: area.after_block])
    often = [block for block, count in reached.items() if count > 1]
    both = [block for block in often if encoders[block] > 1]
    chosen = both or often or list(reached)
    numbers = {
        prefix: [
            number
            for number, block in enumerate(branch.backbone.blocks, start=1)
            if any(block is one for one in chosen)
        ]
        for prefix, branch in branches(model).items()
    }
    return chosen, numbers


def block_features(
    branch: MaskedBranch, clips: ClipBatch
) -> dict[int, Tensor]:
    """Features of all patch tokens after every block, nothing masked.

    Args:
        branch (MaskedBranch): A branch.
        clips (ClipBatch): B clips or images, as the branch sees them.

    Returns:
        dict[int, Tensor]: Block, from 1 -> (B, N, D), fp32; those of the last
        block have passed the encoder's final norm.
    """
    backbone = branch.backbone
    taps = range(1, backbone.depth + 1)
    with torch.no_grad():
        features = backbone.encode(clips.inputs, None, taps)
    first = int(backbone.cls_token is not None)
    return {tap: features[tap][:, first:].float() for tap in taps}


def seen_by(
    model: MaskedBranch | BIMM, clips: ClipBatch
) -> dict[str, ClipBatch]:
    """What every branch sees; BIMM's ventral one the middle frame."""
    if not isinstance(model, BIMM):
        return {'': clips}
    pixels = clips.pixels
    middle = pixels.new_full((len(pixels),), pixels.shape[2] // 2).long()
    return {'ventral_': clips.frame(middle), 'dorsal_': clips}
