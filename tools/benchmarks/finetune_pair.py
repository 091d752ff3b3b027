"""A classifier of mmaction2 and one of ours that compute the same.

Shapes: B clips of T frames, H x W pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from measures import clock
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from bimm_mm.apis import load_config
from bimm_mm.models.checkpoints.convert import to_bimm

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
OURS = CONFIGS / 'downstream' / 'k400' / 'finetune_k400.py'
THEIRS = (
    'mmaction::recognition/videomae/'
    'vit-base-p16_videomae-k400-pre_16x4x1_kinetics-400.py'
)
THEIR_OPTIMISER = (
    'mmaction::detection/videomae/vit-base-p16_videomae-k400-pre_'
    '8xb8-16x4x1-20e-adamw_ava-kinetics-rgb.py'
)
NAMES = ('mmaction2', 'ours')


class Size(NamedTuple):
    """Size of encoder and clip; the default is ViT-B at 16 x 224 x 224."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    frames: int = 16
    side: int = 224


def build_models(size: Size) -> dict[str, nn.Module]:
    """Both classifiers, with the same weights, in training mode."""
    model = get_config(THEIRS).model
    model.data_preprocessor = None
    model.cls_head.in_channels = size.width
    model.backbone.update(
        img_size=size.side,
        num_frames=size.frames,
        embed_dims=size.width,
        depth=size.depth,
        num_heads=size.heads,
    )
    encoder = load_config(OURS).model.backbone
    encoder.update(
        arch=dict(
            embed_dims=size.width, depth=size.depth, num_heads=size.heads
        ),
        img_size=size.side,
        num_frames=size.frames,
        with_cls_token=False,
        key_bias=False,
        out_type='avg',
        drop_path_rate=0.0,
        init_cfg=None,
    )
    with DefaultScope.overwrite_default_scope('mmaction'):
        theirs = MODELS.build(model)
        ours = MODELS.build({**model, 'backbone': encoder})
    weights = to_bimm(theirs.backbone.state_dict(), key_bias=False)
    ours.backbone.load_state_dict(weights.state_dict)
    ours.cls_head.load_state_dict(theirs.cls_head.state_dict())
    return dict(zip(NAMES, (theirs.train(), ours.train()), strict=True))


def build_optimizer(model: nn.Module, kind: str) -> OptimWrapper:
    """AdamW with a layer-wise learning rate.

    Args:
        model (nn.Module): Either classifier.
        kind (str): ``'mmaction2'`` or ``'ours'``. Both make the same update.
    """
    cfg = get_config(THEIR_OPTIMISER).optim_wrapper
    cfg.pop('clip_grad')
    depth = len(model.backbone.blocks)
    cfg.paramwise_cfg.num_layers = depth
    if kind == 'ours':
        own = load_config(OURS).optim_wrapper
        cfg = Config(
            dict(
                optimizer={**own.optimizer, **cfg.optimizer},
                constructor=own.constructor,
                paramwise_cfg=dict(layer_decay=cfg.paramwise_cfg.decay_rate),
            )
        )
    # Each constructor lists every parameter in the log.
    MMLogger.get_current_instance().setLevel('WARNING')
    with DefaultScope.overwrite_default_scope('mmaction'):
        return build_optim_wrapper(model, cfg)


class Task(NamedTuple):
    """Clips and labels, the same for both.

    Attributes:
        clips (Tensor): (B, 1, 3, T, H, W), one view per video.
        samples (list): Soft labels as mmaction2 has them.
        amp (bool): Whether the forward pass runs in bfloat16.
    """

    clips: Tensor
    samples: list[Any]
    amp: bool

    def loss(self, model: nn.Module) -> Tensor:
        """Cross entropy, as the runner computes it in training."""
        kind = self.clips.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=self.amp):
            return model(self.clips, self.samples, mode='loss')['loss_cls']


def build_task(
    batch: int, size: Size, *, amp: bool, device: torch.device
) -> Task:
    """Noise; the time of a step does not depend on the content."""
    from mmaction.structures import ActionDataSample

    clips = torch.randn(batch, 1, 3, size.frames, size.side, size.side)
    labels = torch.randn(batch, 400).softmax(1)
    samples = [ActionDataSample().set_gt_label(x) for x in labels.to(device)]
    return Task(clips.to(device), samples, amp)


class Contender:
    """One classifier with its optimizers, a step of which can be timed.

    Args:
        model (nn.Module): On its device.
        task (Task): What it learns.
        optimizers (dict[str, str]): Kinds by the name under which the time
            of the update is given.
    """

    def __init__(
        self, model: nn.Module, *, task: Task, optimizers: dict[str, str]
    ) -> None:
        self.model = model
        self.task = task
        self.optimizers = {
            name: build_optimizer(model, kind)
            for name, kind in optimizers.items()
        }

    def forward(self) -> None:
        """Work out the loss."""
        self.loss = self.task.loss(self.model)

    def backward(self) -> None:
        """Work out the gradients."""
        self.loss.backward()

    def round(self, device: torch.device) -> dict[str, float]:
        """Seconds of each part of a step."""
        times = {
            'forward': clock(self.forward, device),
            'backward': clock(self.backward, device),
        }
        for name, optimizer in self.optimizers.items():
            times[name] = clock(optimizer.step, device)
        self.model.zero_grad()
        return times

    def steps(self, count: int) -> None:
        """Whole steps, with every optimizer."""
        for _ in range(count):
            self.forward()
            self.backward()
            for optimizer in self.optimizers.values():
                optimizer.step()
            self.model.zero_grad()
