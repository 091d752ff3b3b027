"""BIMM: a ventral branch, a dorsal branch and the blocks they share.

Shapes: B clips of T frames, H x W pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from mmengine.logging import print_log
from torch import Tensor

from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.models.checkpoints.load import (
    load_fully,
    read_state_dict,
    subtree,
)
from bimm_mm.models.pretrainers.area import Area
from bimm_mm.models.pretrainers.masked_branch import BasePretrainer
from bimm_mm.registry import MODELS
from bimm_mm.structures import AreaOutput, ClipBatch
from bimm_mm.utils.safe_load import checkpoint_file


@MODELS.register_module()
class BIMM(BasePretrainer):
    """Joint pretraining of both branches (Sec. 3.3, Algorithm 1, eq. 4).

    The dorsal branch sees the clip, the ventral branch one frame of the same
    clip, drawn uniformly. The first ``share_blocks`` blocks of both encoders
    are the same modules: one entry in the optimizer, one gradient.

    Args:
        ventral: Config of the image branch, ``backbone``, ``masking`` and
            ``areas`` of a :class:`MaskedBranch`.
        dorsal: The same of the video branch.
        share_blocks: How many blocks, counted from the first, both encoders
            share; 0 for none, the depth for all. The default of 4 is the
            first two intermediate blocks of a ViT-B cut at 2, 4 and 12.
        dorsal_weight: Lambda of eq. 4.
        ventral_checkpoint: Checkpoint of stage 1. The ventral branch
            continues from it and the dorsal encoder starts from its encoder
            (Algorithm 1, line 6). If None, both start from scratch, which the
            log says.
        inflate_patch_embed: Whether the dorsal patch embedding starts from
            the ventral one, repeated over time and divided by the tubelet
            length; if not, it starts from scratch, and the shared blocks on
            an embedding that they have never seen.
        data_preprocessor: Config of a :class:`ClipDataPreprocessor`.
        init_cfg: As in MMEngine.
    """

    def __init__(
        self,
        ventral: dict,
        *,
        dorsal: dict,
        share_blocks: int = 4,
        dorsal_weight: float = 1.0,
        ventral_checkpoint: str | None = None,
        inflate_patch_embed: bool = True,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        branch = dict(type='bimm_mm.MaskedBranch')
        self.ventral = MODELS.build({**branch, **ventral})
        self.dorsal = MODELS.build({**branch, **dorsal})
        self.dorsal_weight = dorsal_weight
        self.ventral_checkpoint = ventral_checkpoint
        self.inflate_patch_embed = inflate_patch_embed
        self._share(share_blocks)

    def _share(self, count: int) -> None:
        """Make the first ``count`` blocks of both encoders the same."""
        ventral, dorsal = self.ventral.backbone, self.dorsal.backbone
        depth = min(ventral.depth, dorsal.depth)
        if not 0 <= count <= depth:
            raise ValueError(
                f'share_blocks={count}, but the ventral branch has '
                f'{ventral.depth} blocks and the dorsal branch '
                f'{dorsal.depth}: choose 0 to {depth}'
            )
        if _shapes(ventral, count) != _shapes(dorsal, count):
            raise ValueError(
                f'share_blocks={count} needs equal blocks in both branches, '
                f'but the ventral encoder is {ventral.embed_dims} wide with '
                f'{ventral.num_heads} heads and the dorsal one '
                f'{dorsal.embed_dims} with {dorsal.num_heads}: use the same '
                'arch and key_bias, or share_blocks=0'
            )
        # The same module in both lists: one set of weights and one gradient,
        # to which both branches add.
        for index in range(count):
            ventral.blocks[index] = dorsal.blocks[index]

    def init_weights(self) -> None:
        """Draw random weights, then load those of stage 1 if given.

        The ventral branch goes on where stage 1 stopped, decoders included.
        The dorsal encoder takes the whole ventral encoder; its decoders start
        from scratch.

        Raises:
            FileNotFoundError: If the checkpoint does not exist.
            ValueError: If it does not cover an encoder, or has another width.
        """
        super().init_weights()
        path = self.ventral_checkpoint
        if path is None:
            print_log(
                'no ventral_checkpoint: both branches start from scratch '
                '(the paper starts the joint stage from stage 1)',
                'current',
                logging.WARNING,
            )
            return
        remedy = (
            'run stage 1 first (configs/bimm/pretrain_ventral_*.py), or set '
            'model.ventral_checkpoint to where it is, or to None to train '
            'from scratch or to resume a joint run without it'
        )
        state = read_state_dict(checkpoint_file(path, remedy=remedy))
        # A joint checkpoint holds the ventral branch under its own name.
        state = subtree(state, 'ventral.') or state
        encoder = subtree(state, 'backbone.')
        embedding = {k: v for k, v in encoder.items() if k.startswith('patch')}
        shared = {k: v for k, v in encoder.items() if k not in embedding}
        if self.inflate_patch_embed:
            tubelet = self.dorsal.backbone.patch[0]
            shared |= {k: _inflate(v, tubelet) for k, v in embedding.items()}
        ventral, decoders = self.ventral, subtree(state, 'head.')
        for what, module, weights, missing_ok in (
            ('ventral encoder', ventral.backbone, encoder, ()),
            ('ventral decoders', ventral.head, decoders, ('areas.',)),
            ('dorsal encoder', self.dorsal.backbone, shared, ('patch',)),
        ):
            load_fully(
                module,
                weights,
                source=f'ventral checkpoint {path}',
                what=what,
                missing_ok=missing_ok,
                exact=False,
            )

    @property
    def areas(self) -> Mapping[str, Area]:
        """Every area by ``<branch>_<area>``."""
        return _join(self.ventral.areas, self.dorsal.areas)

    def loss(self, clips: ClipBatch) -> dict[str, Tensor]:
        """Compute L = L_V + lambda L_D (eq. 4), one named loss per area.

        Scalars ``loss_<branch>_<area>`` sum up to eq. 4; metrics of the
        targets that have some come with them.
        """
        # The dorsal branch goes first: the per-frame maps that its targets
        # compute, such as Gabor features, are handed over with the frame.
        # The other order gives the same losses and computes them twice.
        dorsal = self.dorsal.loss(
            clips, prefix='dorsal_', weight=self.dorsal_weight
        )
        frames = self.sample_frame(clips)
        ventral = self.ventral.loss(frames, prefix='ventral_')
        return {**ventral, **dorsal}

    def forward_areas(self, clips: ClipBatch) -> dict[str, AreaOutput]:
        """Run both branches; outputs are named ``<branch>_<area>``."""
        # In the order of loss.
        dorsal = self.dorsal.forward_areas(clips)
        ventral = self.ventral.forward_areas(self.sample_frame(clips))
        return _join(ventral, dorsal)

    def sample_frame(self, clips: ClipBatch) -> ClipBatch:
        """Draw the frame that the ventral branch sees (Algorithm 1, line 9).

        These are B images, with the maps that are known so far.
        """
        batch, device = len(clips.inputs), clips.inputs.device
        return clips.frame(
            torch.randint(clips.size[0], (batch,), device=device)
        )


def _join(ventral: Mapping, dorsal: Mapping) -> dict:
    """One dict of what both branches have, by ``<branch>_<area>``."""
    return {
        **{f'ventral_{name}': value for name, value in ventral.items()},
        **{f'dorsal_{name}': value for name, value in dorsal.items()},
    }


def _shapes(
    encoder: BIMMVisionTransformer, count: int
) -> list[tuple[str, torch.Size, int]]:
    """What the first blocks of two encoders must have in common."""
    return [
        (name, parameter.shape, encoder.num_heads)
        for name, parameter in encoder.blocks[:count].named_parameters()
    ]


def _inflate(weight: Tensor, tubelet: int) -> Tensor:
    """Repeat a 2-D patch embedding over time, keeping its response.

    (D, 3, p, p) becomes (D, 3, t, p, p). Divided by the tubelet length t, it
    answers to a still clip as the image embedding answers to its frame. A
    bias (D,) stays.
    """
    if weight.ndim == 1:
        return weight
    return weight.unsqueeze(2).repeat(1, 1, tubelet, 1, 1) / tubelet
