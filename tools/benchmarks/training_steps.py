"""Training steps of the downstream configs, without data.

What needs real boxes or labels is left out or stands in by its size: no
assignment of anchors, as many RoIs as the samplers draw at most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from torch import Tensor, nn

import bimm_mm  # noqa: F401  its workarounds, before other libraries
from bimm_mm.engine.full_precision import keep_full_precision
from bimm_mm.registry import MODELS


def build_model(cfg: Config, *, encoder_only: bool) -> nn.Module:
    """The model of a config, in training mode, without a checkpoint.

    Args:
        cfg (Config): A config of ``configs/downstream``.
        encoder_only (bool): Build the backbone alone.
    """
    cfg.model.backbone.init_cfg = None
    cfg.model.pop('data_preprocessor', None)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        part = cfg.model.backbone if encoder_only else cfg.model
        model = MODELS.build(part)
    for hook in cfg.custom_hooks:
        if hook.type == 'bimm_mm.FullPrecisionHook' and not encoder_only:
            for name in hook.modules:
                keep_full_precision(model, name)
    return revert_sync_batchnorm(model).train()


def inputs_per_step(cfg: Config) -> int:
    """Clips or pictures of a GPU's step: batch x repeated augmentation."""
    steps = _train_pipeline(cfg.train_dataloader.dataset)
    repeats = [s.num for s in steps if s.type == 'bimm_mm.RepeatSamples']
    return cfg.train_dataloader.batch_size * (repeats[0] if repeats else 1)


def _train_pipeline(dataset: Config) -> list[Config]:
    while 'dataset' in dataset:
        dataset = dataset.dataset
    return dataset.pipeline


def make_inputs(cfg: Config, batch: int, device: torch.device) -> Tensor:
    """A batch of noise, (B, 3, H, W) or (B, 3, T, H, W)."""
    backbone = cfg.model.backbone
    side = backbone.img_size
    size = [side, side] if isinstance(side, int) else list(side)
    frames = [backbone.num_frames] if 'num_frames' in backbone else []
    return torch.rand(batch, 3, *frames, *size, device=device)


def forward_loss(model: nn.Module, inputs: Tensor) -> Tensor:
    """A loss with the memory of the real one.

    Args:
        model (nn.Module): From :func:`build_model`.
        inputs (Tensor): From :func:`make_inputs`.
    """
    return _LOSSES.get(type(model).__name__, _encoder)(model, inputs)


def _encoder(model: nn.Module, inputs: Tensor) -> Tensor:
    """Any encoder; also AVA's, whose head sees a few boxes only."""
    features = getattr(model, 'backbone', model)(inputs)
    features = [features] if isinstance(features, Tensor) else features
    return sum(x.float().mean() for x in features)


def _recognizer(model: nn.Module, inputs: Tensor) -> Tensor:
    logits = model.cls_head(model.backbone(inputs))
    return _classes(logits)


def _image_classifier(model: nn.Module, inputs: Tensor) -> Tensor:
    return _classes(model.head(model.backbone(inputs)))


def _segmentor(model: nn.Module, inputs: Tensor) -> Tensor:
    features = model.extract_feat(inputs)
    heads = (model.decode_head, model.auxiliary_head)
    return sum(
        _classes(
            F.interpolate(head(features), inputs.shape[2:], mode='bilinear')
        )
        for head in heads
    )


def _detector(model: nn.Module, inputs: Tensor) -> Tensor:
    pyramid = model.extract_feat(inputs)
    outputs = [x for maps in model.rpn_head(pyramid) for x in maps]
    sampler = model.train_cfg.rcnn.sampler
    rois = sampler.num * len(inputs)
    heads = model.roi_head
    for head, extractor, count in (
        (heads.bbox_head, heads.bbox_roi_extractor, rois),
        (
            heads.mask_head,
            heads.mask_roi_extractor,
            int(rois * sampler.pos_fraction),
        ),
    ):
        side = extractor.roi_layers[0].output_size
        levels = sum(x.mean() for x in pyramid)
        out = head(levels.expand(count, pyramid[0].shape[1], *side).clone())
        outputs += [out] if isinstance(out, Tensor) else out
    return sum(x.float().square().mean() for x in outputs)


def _classes(logits: Tensor) -> Tensor:
    """Cross-entropy, in fp32 as on GPUs under autocast."""
    labels = logits.new_zeros(
        (len(logits), *logits.shape[2:]), dtype=torch.int64
    )
    return F.cross_entropy(logits.float(), labels)


_LOSSES: dict[str, Callable[[Any, Tensor], Tensor]] = dict(
    Recognizer3D=_recognizer,
    ImageClassifier=_image_classifier,
    EncoderDecoder=_segmentor,
    MaskRCNN=_detector,
)
