"""A branch: encoder, masking and areas; alone a pretraining algorithm.

MAE is an image branch with one area (pixels), VideoMAE a video branch with
one area (pixels), MotionMAE a video branch with two (pixels, motion). MAM2 is
a video branch with a regressor before two areas (codes, motion).

Shapes: B clips or images, T frames (1 for images), H x W pixels.
"""

from __future__ import annotations

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor

from bimm_mm.models.masking import TokenIndices
from bimm_mm.models.pretrainers.area import AreaOutput, MultiDecoderHead
from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch

_READS = {
    True: 'latents of hidden tokens',
    False: 'features of visible tokens',
}


@MODELS.register_module()
class MaskedBranch(BaseModel):
    """Masked modelling with several decoders on one encoder (Sec. 3.1).

    Args:
        backbone (dict): Config of a :class:`BIMMVisionTransformer`.
        masking (dict): Config of a :class:`Masking`.
        areas (list[dict]): One config per area, see :class:`Area`: ``name``,
            ``after_block``, ``decoder``, ``target`` and, if wanted,
            ``weight``.
        regressor (dict, optional): Config of a :class:`LatentRegressor`. It
            stands behind the last block: areas after that block decode its
            latents of the hidden tokens. Defaults to None.
        decoder_masking (dict, optional): Config of a
            :class:`RunningCellMasking`, which leaves hidden tokens out of all
            decoders and losses. Defaults to None: every hidden token is
            predicted.
        data_preprocessor (dict, optional): Config of a
            :class:`ClipDataPreprocessor`. Defaults to None: the caller
            passes a :class:`ClipBatch`.
        init_cfg (dict, optional): As in MMEngine. Defaults to None.

    Raises:
        ValueError: If areas and regressor do not fit each other.
    """

    def __init__(
        self,
        backbone: dict,
        *,
        masking: dict,
        areas: list[dict],
        regressor: dict | None = None,
        decoder_masking: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.masking = MODELS.build(masking)
        self.decoder_masking = self.regressor = None
        if decoder_masking is not None:
            self.decoder_masking = MODELS.build(decoder_masking)
        if regressor is not None:
            encoder = dict(
                dims=self.backbone.embed_dims, video=self.backbone.video
            )
            self.regressor = MODELS.build(dict(regressor, **encoder))
        self.head = MultiDecoderHead(areas, backbone=self.backbone)
        self._check_decoders()
        self._freeze_unused()

    def _check_decoders(self) -> None:
        """Latents for decoders of latents, features for all others."""
        depth, latents = self.backbone.depth, self.regressor is not None
        if latents and depth not in self.head.taps:
            raise ValueError(
                f'the regressor stands behind block {depth}, but no area is '
                f'decoded there: set after_block={depth} for one, or leave '
                'out the regressor'
            )
        for name, area in self.head.areas.items():
            wanted = latents and area.after_block == depth
            if area.decoder.reads_latents != wanted:
                found = type(area.decoder).__name__
                raise ValueError(
                    f'area {name!r}: its {found} decodes '
                    + _READS[area.decoder.reads_latents]
                    + f', but after block {area.after_block} there are '
                    + _READS[wanted]
                    + ': take a bimm_mm.LatentDecoder behind a regressor and '
                    'any other decoder elsewhere'
                )

    def _freeze_unused(self) -> None:
        """Stop gradients of what no area reaches; DDP demands it."""
        last = self.head.taps[-1]
        if last == self.backbone.depth:
            return
        print_log(
            f'the last area is decoded after block {last}: blocks '
            f'{last + 1} to {self.backbone.depth} and the final norm get no '
            'gradient and keep their initial weights',
            'current',
        )
        for module in (*self.backbone.blocks[last:], self.backbone.norm):
            module.requires_grad_(False)

    def forward(
        self,
        inputs: ClipBatch,
        data_samples: list | None = None,
        mode: str = 'loss',
    ) -> dict[str, Tensor] | list[dict[str, AreaOutput]]:
        """As MMEngine's runner calls it.

        Args:
            inputs (ClipBatch): What the branch sees.
            data_samples (list, optional): Where each sample comes from; not
                used here.
            mode (str): ``'loss'`` or ``'predict'``. Defaults to ``'loss'``.

        Returns:
            dict[str, Tensor] | list[dict[str, AreaOutput]]: ``loss_<area>``
            by area and what :meth:`loss` logs besides, or one entry with
            every area's output.

        Raises:
            ValueError: If ``mode`` is neither of the two.
        """
        if mode == 'loss':
            return self.loss(inputs)
        if mode == 'predict':
            return [self.reconstruct(inputs)]
        raise ValueError(f"mode must be 'loss' or 'predict', got {mode!r}")

    def loss(
        self, clips: ClipBatch, *, prefix: str = '', weight: float = 1.0
    ) -> dict[str, Tensor]:
        """Losses and figures as the log names them.

        Args:
            clips (ClipBatch): B clips or images.
            prefix (str): Put before the name of every area. Defaults to ''.
            weight (float): Of this branch's losses. Defaults to 1.

        Returns:
            dict[str, Tensor]: Scalars ``loss_<prefix><area>`` and, of
            targets that have some, ``<prefix><area>/<figure>``.
        """
        outputs = self.reconstruct(clips)
        losses = self.head.loss(outputs)
        figures = self.head.figures(outputs)
        return {
            **{f'loss_{prefix}{n}': weight * x for n, x in losses.items()},
            **{f'{prefix}{name}': x for name, x in figures.items()},
        }

    def area_losses(self, clips: ClipBatch) -> dict[str, Tensor]:
        """Weighted loss by area name (eq. 2 or 3)."""
        return self.head.loss(self.reconstruct(clips))

    def draw(
        self,
        batch: int,
        grid: tuple[int, int, int],
        *,
        device: torch.device | None = None,
    ) -> TokenIndices:
        """Which tokens are visible, and which are decoded and scored.

        Args:
            batch (int): Number of samples.
            grid (tuple[int, int, int]): Tokens over time, height and width.
            device (torch.device, optional): Where to draw. Defaults to CPU.

        Returns:
            TokenIndices: What the masking hides, less what the decoder
            masking leaves out.
        """
        indices = self.masking(batch, grid, device=device)
        if self.decoder_masking is None:
            return indices
        return self.decoder_masking(indices, grid)

    def reconstruct(self, clips: ClipBatch) -> dict[str, AreaOutput]:
        """Mask, encode what is visible, regress, decode every area.

        Args:
            clips (ClipBatch): B clips or images.

        Returns:
            dict[str, AreaOutput]: By area name.
        """
        grid = self.backbone.grid(clips.size)
        device = clips.inputs.device
        indices = self.draw(len(clips.inputs), grid, device=device)
        features = self.backbone.encode(
            clips.inputs, indices.visible, self.head.taps
        )
        if self.regressor is not None:
            last = self.backbone.depth
            features[last] = self.regressor(features[last], indices, grid)
        return self.head(features, indices, grid, clips)
