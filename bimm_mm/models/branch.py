"""A branch: encoder, masking and areas; alone a pretraining algorithm.

MAE is an image branch with one area (pixels), VideoMAE a video branch with
one area (pixels), MotionMAE a video branch with two (pixels, motion).

Shapes: B clips or images, T frames (1 for images), H x W pixels.
"""

from __future__ import annotations

from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor

from bimm_mm.registry import MODELS
from bimm_mm.stimulus import Stimulus

from .head import AreaOutput, MultiDecoderHead


@MODELS.register_module()
class MaskedBranch(BaseModel):
    """Masked modelling with several decoders on one encoder (Sec. 3.1).

    Args:
        backbone (dict): Config of a :class:`BIMMVisionTransformer`.
        masking (dict): Config of a :class:`Masking`.
        areas (list[dict]): One config per area, see :class:`Area`: ``name``,
            ``after_block``, ``decoder``, ``target`` and, if wanted,
            ``weight``.
        data_preprocessor (dict, optional): Config of a
            :class:`StimulusPreprocessor`. Defaults to None: the caller
            passes a :class:`Stimulus`.
        init_cfg (dict, optional): As in MMEngine. Defaults to None.
    """

    def __init__(
        self,
        backbone: dict,
        *,
        masking: dict,
        areas: list[dict],
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.masking = MODELS.build(masking)
        self.head = MultiDecoderHead(areas, backbone=self.backbone)
        self._freeze_unused()

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
        inputs: Stimulus,
        data_samples: list | None = None,
        mode: str = 'loss',
    ) -> dict[str, Tensor] | list[dict[str, AreaOutput]]:
        """As MMEngine's runner calls it.

        Args:
            inputs (Stimulus): What the branch sees.
            data_samples (list, optional): Where each sample comes from; not
                used here.
            mode (str): ``'loss'`` or ``'predict'``. Defaults to ``'loss'``.

        Returns:
            dict[str, Tensor] | list[dict[str, AreaOutput]]: ``loss_<area>``
            by area, or one entry with every area's output.

        Raises:
            ValueError: If ``mode`` is neither of the two.
        """
        if mode == 'loss':
            losses = self.area_losses(inputs)
            return {f'loss_{name}': loss for name, loss in losses.items()}
        if mode == 'predict':
            return [self.reconstruct(inputs)]
        raise ValueError(f"mode must be 'loss' or 'predict', got {mode!r}")

    def area_losses(self, stimulus: Stimulus) -> dict[str, Tensor]:
        """Weighted loss by area name (eq. 2 or 3)."""
        return self.head.loss(self.reconstruct(stimulus))

    def reconstruct(self, stimulus: Stimulus) -> dict[str, AreaOutput]:
        """Mask, encode what is visible, decode every area.

        Args:
            stimulus (Stimulus): B clips or images.

        Returns:
            dict[str, AreaOutput]: By area name.
        """
        grid = self.backbone.grid(stimulus.size)
        indices = self.masking(
            len(stimulus.inputs), grid, device=stimulus.inputs.device
        )
        features = self.backbone.encode(
            stimulus.inputs, indices.visible, self.head.taps
        )
        return self.head(features, indices, grid, stimulus)
