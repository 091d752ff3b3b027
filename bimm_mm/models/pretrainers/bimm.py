"""BIMM: a ventral branch, a dorsal branch and the blocks they share.

Shapes: B clips of T frames, H x W pixels.
"""

from __future__ import annotations

import torch
from mmengine.model import BaseModel
from torch import Tensor

from bimm_mm.models.checkpoints.ventral_init import init_from_ventral
from bimm_mm.models.pretrainers.area import AreaOutput
from bimm_mm.models.pretrainers.masked_branch import MaskedBranch
from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch


@MODELS.register_module()
class BIMM(BaseModel):
    """Joint pretraining of both branches (Sec. 3.3, Algorithm 1, eq. 4).

    The dorsal branch sees the clip, the ventral branch one frame of the same
    clip, drawn uniformly. The first ``share_blocks`` blocks of both encoders
    are the same modules: one entry in the optimizer, one gradient.

    Args:
        ventral (dict): ``backbone``, ``masking`` and ``areas`` of the image
            branch, see :class:`MaskedBranch`.
        dorsal (dict): The same of the video branch.
        share_blocks (int): How many blocks, counted from the first, both
            encoders share; 0 for none, the depth for all. Defaults to 4: the
            first two intermediate blocks of a ViT-B cut at 2, 4 and 12.
        dorsal_weight (float): Lambda of eq. 4. Defaults to 1.
        ventral_checkpoint (str, optional): Checkpoint of stage 1. The
            ventral branch continues from it and the dorsal encoder starts
            from its encoder (Algorithm 1, line 6). Defaults to None: both
            start from scratch, which the log says.
        inflate_patch_embed (bool): Whether the dorsal patch embedding starts
            from the ventral one, repeated over time and divided by the
            tubelet length, instead of from scratch. Defaults to False.
        data_preprocessor (dict, optional): Config of a
            :class:`ClipDataPreprocessor`. Defaults to None.
        init_cfg (dict, optional): As in MMEngine. Defaults to None.

    Raises:
        ValueError: If the branches cannot share ``share_blocks`` blocks.
    """

    def __init__(
        self,
        ventral: dict,
        *,
        dorsal: dict,
        share_blocks: int = 4,
        dorsal_weight: float = 1.0,
        ventral_checkpoint: str | None = None,
        inflate_patch_embed: bool = False,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.ventral = MaskedBranch(**ventral)
        self.dorsal = MaskedBranch(**dorsal)
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
        shapes = [_shapes(net.blocks[:count]) for net in (ventral, dorsal)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f'share_blocks={count} needs equal blocks in both branches, '
                f'but the ventral encoder is {ventral.embed_dims} wide with '
                f'{ventral.num_heads} heads and the dorsal one '
                f'{dorsal.embed_dims} with {dorsal.num_heads}: use the same '
                'arch and key_bias, or share_blocks=0'
            )
        for index in range(count):
            ventral.blocks[index] = dorsal.blocks[index]

    def init_weights(self) -> None:
        """Random weights, then those of stage 1 if there is a checkpoint."""
        super().init_weights()
        init_from_ventral(
            self,
            self.ventral_checkpoint,
            inflate_patch_embed=self.inflate_patch_embed,
        )

    def forward(
        self,
        inputs: ClipBatch,
        data_samples: list | None = None,
        mode: str = 'loss',
    ) -> dict[str, Tensor] | list[dict[str, AreaOutput]]:
        """As MMEngine's runner calls it.

        Args:
            inputs (ClipBatch): B clips.
            data_samples (list, optional): Where each clip comes from; not
                used here.
            mode (str): ``'loss'`` or ``'predict'``. Defaults to ``'loss'``.

        Returns:
            dict[str, Tensor] | list[dict[str, AreaOutput]]: The losses
            ``loss_<branch>_<area>``, which sum up to eq. 4, or one entry
            with every area's output under ``<branch>_<area>``.

        Raises:
            ValueError: If ``mode`` is neither of the two.
        """
        if mode == 'loss':
            return self.loss(inputs)
        if mode == 'predict':
            return [self.reconstruct(inputs)]
        raise ValueError(f"mode must be 'loss' or 'predict', got {mode!r}")

    def loss(self, clip: ClipBatch) -> dict[str, Tensor]:
        """L = L_V + lambda L_D (eq. 4), one named loss per area.

        Figures of targets that have some stand beside them.

        Args:
            clip (ClipBatch): B clips.

        Returns:
            dict[str, Tensor]: Scalars.
        """
        dorsal = self.dorsal.loss(
            clip, prefix='dorsal_', weight=self.dorsal_weight
        )
        ventral = self.ventral.loss(self.sample_frame(clip), prefix='ventral_')
        return {**ventral, **dorsal}

    def reconstruct(self, clip: ClipBatch) -> dict[str, AreaOutput]:
        """Every area's output under ``<branch>_<area>``."""
        dorsal = self.dorsal.reconstruct(clip)
        ventral = self.ventral.reconstruct(self.sample_frame(clip))
        return {
            **{f'ventral_{name}': out for name, out in ventral.items()},
            **{f'dorsal_{name}': out for name, out in dorsal.items()},
        }

    def sample_frame(self, clip: ClipBatch) -> ClipBatch:
        """The frame that the ventral branch sees (Algorithm 1, line 9).

        The dorsal branch goes first: its per-frame feature maps then serve
        the ventral branch as well.
        """
        batch, device = len(clip.inputs), clip.inputs.device
        return clip.frame(torch.randint(clip.size[0], (batch,), device=device))


def _shapes(blocks: torch.nn.Module) -> list[tuple[str, torch.Size, int]]:
    """What two stacks of blocks must have in common to be shared."""
    heads = [block.attn.num_heads for block in blocks]
    shapes = [(key, p.shape) for key, p in blocks.named_parameters()]
    return [*shapes, *heads]
