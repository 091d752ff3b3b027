"""A branch: encoder, masking and areas; alone a pretraining algorithm.

MAE is an image branch with one area (pixels), VideoMAE a video branch with
one area (pixels), MotionMAE a video branch with two (pixels, motion). MAM2 is
a video branch with a regressor before two areas (codes, motion).

Shapes: B clips or images, T frames (1 for images), H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor

from bimm_mm.models.pretrainers.area import Area
from bimm_mm.registry import MODELS
from bimm_mm.structures import AreaOutput, ClipBatch, TokenIndices


@MODELS.register_module()
class BasePretrainer(BaseModel):
    """What MMEngine's runner calls: losses in training, outputs otherwise.

    A subclass gives :attr:`areas`, :meth:`loss` and :meth:`forward_areas`.
    """

    @property
    def areas(self) -> Mapping[str, Area]:
        """Every area by the name of its output."""
        raise NotImplementedError

    def loss(self, clips: ClipBatch) -> dict[str, Tensor]:
        """Compute one named loss per area, and what targets log besides.

        These are scalars. Those whose name starts with ``loss`` are summed up.
        """
        raise NotImplementedError

    def forward_areas(self, clips: ClipBatch) -> dict[str, AreaOutput]:
        """Hide tokens, encode the visible ones and decode every area."""
        raise NotImplementedError

    def predict(self, clips: ClipBatch) -> dict[str, AreaOutput]:
        """Do the same, and give every output its loss and metrics."""
        outputs = self.forward_areas(clips)
        for name, output in outputs.items():
            output.loss = self.areas[name].loss(output)
            output.metrics = self.areas[name].metrics(output)
        return outputs

    def forward(
        self,
        inputs: ClipBatch,
        data_samples: list | None = None,
        mode: str = 'loss',
    ) -> dict[str, Tensor] | list[dict[str, AreaOutput]]:
        """Dispatch as MMEngine's runner asks, by ``mode``.

        ``'loss'`` gives the losses, ``'predict'`` a list of one entry: what
        :meth:`predict` gives. ``data_samples`` are not used.
        """
        if mode == 'loss':
            return self.loss(inputs)
        if mode == 'predict':
            return [self.predict(inputs)]
        raise ValueError(f"mode must be 'loss' or 'predict', got {mode!r}")


@MODELS.register_module()
class MaskedBranch(BasePretrainer):
    """Masked modeling with several decoders on one encoder (Sec. 3.1).

    Args:
        backbone: Config of a :class:`BIMMVisionTransformer`.
        masking: Config of a :class:`Masking`.
        areas: One config per :class:`Area`: ``name``, ``after_block``,
            ``decoder``, ``target`` and, if wanted, ``weight``.
        regressor: Config of a :class:`LatentRegressor`. It stands behind the
            last block: areas after that block decode its latents of the
            hidden tokens.
        decoded: Share, in (0, 1], of the hidden tokens that are decoded and
            scored in training, drawn at random per sample; evaluation takes
            all. VideoMAE V2 decodes half, by a pattern in place of chance.
        head: Config of another head than :class:`MultiDecoderHead`, without
            ``areas`` and ``backbone``.
        data_preprocessor: Config of a :class:`ClipDataPreprocessor`. If None,
            the caller passes a :class:`ClipBatch`.
        init_cfg: As in MMEngine.
    """

    def __init__(
        self,
        backbone: dict,
        *,
        masking: dict,
        areas: list[dict],
        regressor: dict | None = None,
        decoded: float = 1.0,
        head: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.masking = MODELS.build(masking)
        if not 0.0 < decoded <= 1.0:
            raise ValueError(
                f'decoded={decoded} must lie in (0, 1]: it is the share of '
                'hidden tokens that are decoded'
            )
        self.decoded = decoded
        self.regressor = None
        if regressor is not None:
            # As for decoders: a config never repeats what the encoder knows.
            encoder = dict(
                embed_dims=self.backbone.embed_dims, video=self.backbone.video
            )
            self.regressor = MODELS.build(dict(regressor, **encoder))
        head = dict(type='bimm_mm.MultiDecoderHead') if head is None else head
        self.head = MODELS.build(
            dict(head, areas=areas, backbone=self.backbone)
        )
        self._check_decoders()
        self._freeze_unused()

    def _check_decoders(self) -> None:
        """Latents are for decoders of latents, features for all others."""
        depth, latents = self.backbone.depth, self.regressor is not None
        if latents and depth not in self.head.after_blocks:
            raise ValueError(
                f'the regressor stands behind block {depth}, but no area is '
                f'decoded there: set after_block={depth} for one, or leave '
                'out the regressor'
            )
        for name, area in self.areas.items():
            wanted = latents and area.after_block == depth
            if area.decoder.reads_latents != wanted:
                found = type(area.decoder).__name__
                raise ValueError(
                    f'area {name!r} has a {found} after block '
                    f'{area.after_block}: behind a regressor, which follows '
                    'the last block, take a bimm_mm.LatentDecoder, and any '
                    'other decoder elsewhere'
                )

    def _freeze_unused(self) -> None:
        """Stop gradients of what no area reaches; DDP demands it."""
        last = self.head.after_blocks[-1]
        if last == self.backbone.depth:
            return
        print_log(
            f'the last area is decoded after block {last}: blocks '
            f'{last + 1} to {self.backbone.depth} and the final norm get no '
            'gradient and keep their initial weights',
            'current',
        )
        # DistributedDataParallel waits for the gradient of every parameter
        # that asks for one.
        for module in (*self.backbone.blocks[last:], self.backbone.norm):
            module.requires_grad_(False)

    @property
    def areas(self) -> Mapping[str, Area]:
        """Every area by its name."""
        return self.head.areas

    def loss(
        self, clips: ClipBatch, *, prefix: str = '', weight: float = 1.0
    ) -> dict[str, Tensor]:
        """Compute losses and metrics as the log names them.

        Args:
            clips: B clips or images.
            prefix: Put before the name of every area.
            weight: Weight of this branch's losses.

        Returns:
            Scalars ``loss_<prefix><area>`` and, of targets that have some,
            ``<prefix><area>/<metric>``.
        """
        outputs = self.forward_areas(clips)
        losses = self.head.loss(outputs)
        metrics = self.head.metrics(outputs)
        return {
            **{f'loss_{prefix}{n}': weight * x for n, x in losses.items()},
            **{f'{prefix}{name}': x for name, x in metrics.items()},
        }

    def _thin_out(self, indices: TokenIndices) -> TokenIndices:
        """Leave a random part of the hidden tokens out, in every sample."""
        hidden = indices.hidden
        count = max(1, int(self.decoded * hidden.shape[1]))
        order = torch.rand(hidden.shape, device=hidden.device).argsort(dim=1)
        return indices._replace(hidden=hidden.gather(1, order[:, :count]))

    def forward_areas(self, clips: ClipBatch) -> dict[str, AreaOutput]:
        """Mask, encode what is visible, regress, decode every area."""
        # 1. Choose the tokens that the encoder does not see.
        grid = self.backbone.grid(clips.size)
        device = clips.inputs.device
        indices = self.masking(len(clips.inputs), grid, device=device)
        # 2. Encode the visible ones, up to the last area.
        features = self.backbone.encode(
            clips.inputs, indices.visible, self.head.after_blocks
        )
        if self.training and self.decoded < 1.0:
            indices = self._thin_out(indices)
        # 3. With a regressor, what follows the last block are its latents of
        # the hidden tokens.
        if self.regressor is not None:
            last = self.backbone.depth
            features[last] = self.regressor(features[last], indices, grid)
        # 4. Let every area decode its features and compute its target.
        return self.head(features, indices, grid, clips)
