"""Starting the joint stage from stage 1 (Algorithm 1, line 6)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.logging import print_log
from torch import Tensor

from bimm_mm.models.checkpoints.checkpoint import (
    load_fully,
    read_state_dict,
    subtree,
)

if TYPE_CHECKING:
    from bimm_mm.models.backbones.vit import BIMMVisionTransformer
    from bimm_mm.models.pretrainers.bimm import BIMM


def init_from_ventral(
    model: BIMM, checkpoint: str | None, *, inflate_patch_embed: bool
) -> None:
    """Load both branches from a checkpoint of the ventral stage.

    The ventral branch goes on where stage 1 stopped, decoders included. The
    dorsal encoder takes the ventral encoder's blocks, class token and final
    norm; its decoders start from scratch. The log counts what was loaded.

    Args:
        model (BIMM): The model to fill, in place.
        checkpoint (str, optional): Checkpoint of stage 1; None starts both
            branches from scratch and says so.
        inflate_patch_embed (bool): Whether the dorsal patch embedding is the
            ventral one inflated over time.

    Raises:
        FileNotFoundError: If the checkpoint does not exist.
        ValueError: If it does not cover an encoder, or has another width.
    """
    if checkpoint is None:
        print_log(
            'no ventral_checkpoint: both branches start from scratch '
            '(the paper starts the joint stage from stage 1)',
            'current',
            logging.WARNING,
        )
        return
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(
            f'there is no ventral checkpoint at {checkpoint}: run stage 1 '
            'first (configs/bimm/pretrain_ventral_*.py), or set '
            'model.ventral_checkpoint to where it is, or to None to train '
            'from scratch or to resume a joint run without it'
        )
    state = read_state_dict(checkpoint)
    # A joint checkpoint holds the ventral branch under its own name.
    state = subtree(state, 'ventral.') or state
    ventral, dorsal = model.ventral, model.dorsal
    encoder = subtree(state, 'backbone.')
    source = f'ventral checkpoint {checkpoint}'
    load_fully(
        ventral.backbone, encoder, what='ventral encoder', source=source
    )
    load_fully(
        ventral.head,
        subtree(state, 'head.'),
        what='ventral decoders',
        source=source,
        missing_ok=('areas.',),
    )
    load_fully(
        dorsal.backbone,
        _for_dorsal(encoder, dorsal.backbone, inflate_patch_embed),
        what='dorsal encoder',
        source=source,
        missing_ok=() if inflate_patch_embed else ('patch_embed.',),
    )


def _for_dorsal(
    encoder: dict[str, Tensor],
    backbone: BIMMVisionTransformer,
    inflate_patch_embed: bool,
) -> dict[str, Tensor]:
    """The ventral encoder's weights as the dorsal encoder can take them."""
    state = {
        key: value
        for key, value in encoder.items()
        if not key.startswith('patch_embed.')
    }
    if inflate_patch_embed:
        state['patch_embed.proj.bias'] = encoder['patch_embed.proj.bias']
        state['patch_embed.proj.weight'] = inflate(
            encoder['patch_embed.proj.weight'], backbone.patch[0]
        )
    return state


def inflate(weight: Tensor, tubelet: int) -> Tensor:
    """Repeat a 2-D patch embedding over time, keeping its response.

    Divided by the tubelet length, it answers to a still clip as the image
    embedding answers to its frame.

    Args:
        weight (Tensor): (D, 3, p, p).
        tubelet (int): Length t of a tubelet in frames.

    Returns:
        Tensor: (D, 3, t, p, p).
    """
    return weight.unsqueeze(2).repeat(1, 1, tubelet, 1, 1) / tubelet
