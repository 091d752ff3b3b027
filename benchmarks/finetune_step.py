"""Time a finetuning step against mmaction2's VideoMAE.

A step of video classification with ViT-B: forward and backward pass of the
cross entropy over 400 classes on clips of 16 x 224 x 224, and AdamW with a
learning rate per layer. Both are mmaction2's `Recognizer3D` with its
`TimeSformerHead`, mean of all tokens, no stochastic depth; they hold the same
weights, get the same clips with soft labels, as mixup makes them, and compute
in the same precision. What differs is the encoder and the optimizer wrapper:

- mmaction2: its `VisionTransformer` and its layer decay, from its configs;
- ours: `bimm_mm.BIMMVisionTransformer` and `bimm_mm.LayerDecay`, fused AdamW.

A test checks that loss, gradients and updated weights are equal. On a GPU,
the peak memory of two steps is given as well.

Example:
    python -m benchmarks.finetune_step --batch 2 --rounds 7 --amp
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor

import bimm_mm.compat  # noqa: F401  fixes libraries
from benchmarks import measures
from bimm_mm.apis.config import load_config
from bimm_mm.models.checkpoints.convert import to_bimm

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
OURS = CONFIGS / 'downstream' / 'k400' / 'finetune_k400.py'
THEIRS = (
    'mmaction::recognition/videomae/'
    'vit-base-p16_videomae-k400-pre_16x4x1_kinetics-400.py'
)
THEIR_OPTIMIZER = (
    'mmaction::detection/videomae/vit-base-p16_videomae-k400-pre_'
    '8xb8-16x4x1-20e-adamw_ava-kinetics-rgb.py'
)
NAMES = ('mmaction2', 'ours')
PARTS = ('forward', 'backward', 'update')
VIT_B = (768, 12, 12, 16, 224)


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = measures.parser(__doc__, rounds=7)
    parser.add_argument('--batch', type=int, default=2, help='clips per step')
    parser.add_argument(
        '--size',
        type=int,
        nargs=5,
        default=VIT_B,
        metavar=('WIDTH', 'DEPTH', 'HEADS', 'FRAMES', 'SIDE'),
        help='default: ViT-B, 16 frames of 224',
    )
    parser.add_argument(
        '--amp', action='store_true', help='bfloat16 autocast for both'
    )
    parser.add_argument('--compile', action='store_true', help='both encoders')
    return measures.parse(parser, arguments)


def build_models(size: Sequence[int]) -> dict[str, Any]:
    """Both classifiers, with the same weights, in training mode."""
    model = get_config(THEIRS).model
    model.data_preprocessor = None
    width, depth, heads, frames, side = size
    model.cls_head.in_channels = width
    arch = dict(embed_dims=width, depth=depth, num_heads=heads)
    shape = dict(img_size=side, num_frames=frames)
    model.backbone.update(shape, **arch)
    encoder = load_config(OURS).model.backbone
    encoder.update(
        shape,
        arch=arch,
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


def build_optimizer(model: Any, kind: str) -> OptimWrapper:
    """AdamW with a layer-wise learning rate; both kinds update alike.

    Args:
        model: Either classifier.
        kind: Whose code it is, ``'mmaction2'`` or ``'ours'``.
    """
    cfg = get_config(THEIR_OPTIMIZER).optim_wrapper
    cfg.pop('clip_grad')
    cfg.paramwise_cfg.num_layers = len(model.backbone.blocks)
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


@dataclass
class Contender:
    """One classifier with its optimizer, whose step is cut into parts."""

    model: Any
    batch: tuple[Tensor, list]
    optimizer: OptimWrapper
    autocast: torch.autocast

    def forward(self) -> None:
        """Work out the loss."""
        with self.autocast:
            self.loss = self.model(*self.batch, mode='loss')['loss_cls']

    def backward(self) -> None:
        """Work out the gradients."""
        self.loss.backward()

    def update(self) -> None:
        """Change the weights."""
        self.optimizer.step()
        self.optimizer.zero_grad()

    def step(self) -> None:
        """All of it."""
        self.forward()
        self.backward()
        self.update()


def contenders(args: argparse.Namespace) -> dict[str, Contender]:
    """Both, with the same weights and the same clips of noise."""
    from mmaction.structures import ActionDataSample

    torch.manual_seed(0)
    *_, frames, side = args.size
    clips = torch.randn(args.batch, 1, 3, frames, side, side).to(args.device)
    # Soft, as mixup makes them.
    labels = torch.randn(args.batch, 400).softmax(1).to(args.device)
    samples = [ActionDataSample().set_gt_label(label) for label in labels]
    found = {}
    for name, model in build_models(args.size).items():
        model.to(args.device)
        if args.compile:
            model.backbone.compile()
        optimizer = build_optimizer(model, name)
        autocast = measures.autocast(args)
        found[name] = Contender(model, (clips, samples), optimizer, autocast)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    args = parse_args(arguments)

    def make(name: str) -> Callable[[], None]:
        return contenders(args)[name].step

    numbers: dict[str, Any] = {}
    if measures.on_gpu(args):
        numbers['peak_bytes'] = {
            f'{name} step': measures.peak_bytes(partial(make, name))
            for name in NAMES
        }
    runs: dict[str, Callable[[], None]] = {
        f'{name} {part}': getattr(contender, part)
        for name, contender in contenders(args).items()
        for part in PARTS
    }
    times = measures.in_turn(runs, args)
    for name in NAMES:
        rows = [times[f'{name} {part}'] for part in PARTS]
        times[f'{name} step'] = list(map(sum, zip(*rows, strict=True)))
    ratios = numbers['times_faster'] = {
        part: measures.ratio(times[f'mmaction2 {part}'], times[f'ours {part}'])
        for part in (*PARTS, 'step')
    }
    lines = ['times faster than mmaction2:']
    lines += [f'{n}: {measures.text(values)}' for n, values in ratios.items()]
    measures.report(args, numbers, lines, seconds=times)


if __name__ == '__main__':
    main()
