"""Time a pretraining step of ours against the code that people use.

Both sides are full training steps of ViT-B (forward, backward, fused AdamW)
on the same pictures and masks, in the same precision; rounds alternate. The
other side is mmpretrain's MAE, transformers' VideoMAE, or official code, of
which the user has a clone (``python -m benchmarks.parity --help``).

Example:
    python -m benchmarks.peers mae mmpretrain --batch 2
    python -m benchmarks.peers joint official --official CLONES --amp
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.distributed._tools.mem_tracker import MemTracker

import bimm_mm.compat  # noqa: F401  fixes libraries
from benchmarks import finetune_step, joint_step, measures
from benchmarks.parity.__main__ import draw_sample, our_branch
from benchmarks.parity.methods import METHODS, Sample
from benchmarks.parity.stand_ins import official_modules
from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch

# What each is compared with.
KINDS = dict(
    joint='VideoMAE',
    videomae='VideoMAE',
    ventral='MAE',
    mae='MAE',
    finetune='VideoMAE',
)
VENTRAL = joint_step.CONFIG.with_name('pretrain_ventral_in1k.py')
MAE = 'mmpretrain::mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py'
Side = tuple[nn.Module, Callable[[nn.Module], Tensor]]


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = measures.parser(__doc__, rounds=3)
    parser.add_argument('ours', choices=KINDS)
    parser.add_argument(
        'theirs', choices=('official', 'mmpretrain', 'transformers')
    )
    parser.add_argument('--official', type=Path, help='folder of the clones')
    parser.add_argument('--batch', type=int, default=2)
    parser.add_argument(
        '--amp', action='store_true', help='bfloat16 autocast for both'
    )
    parser.add_argument(
        '--memory', action='store_true', help='count bytes, no time'
    )
    args = measures.parse(parser, arguments)
    args.compile = False
    if args.theirs == 'official' and not args.official:
        parser.error('official needs --official, the folder of the clones')
    return args


def ours(kind: str, sample: Sample) -> Side:
    """A config's model, and its loss of a batch."""
    model: Any
    if kind == 'joint':
        model = joint_step.build_bimm()
    elif kind == 'ventral':
        config = Config.fromfile(VENTRAL).model
        model = MODELS.build(dict(config, data_preprocessor=None))
    elif kind != 'finetune':
        model = our_branch(METHODS[KINDS[kind]])
    inputs, pixels = sample.clips.inputs, sample.clips.pixels
    if kind == 'finetune':
        model = finetune_step.build_models(finetune_step.VIT_B)['ours']
        return model, lambda m: class_loss(
            m.extract_feat(inputs[:, None], stage='head')[0]
        )

    def loss(model: nn.Module) -> Tensor:
        clips = ClipBatch(inputs, pixels, pixels[:, :1].contiguous())
        return torch.stack([*model(clips, mode='loss').values()]).sum()

    return model, loss


def class_loss(logits: Tensor) -> Tensor:
    """Cross entropy to the first class."""
    return F.cross_entropy(logits, logits.new_zeros(len(logits)).long())


def theirs(args: argparse.Namespace, sample: Sample) -> Side:
    """The other code's model, and its loss of the same batch."""
    if args.theirs == 'official':
        method = METHODS[KINDS[args.ours]]
        clone = method.clone(args.official)
        built = method.build(import_module(method.module), clone)

        def official(model: nn.Module) -> Tensor:
            model._forward_hooks.clear()  # those of the last run
            loss = method.run(model, sample)[1]
            assert loss is not None, 'compared alone, without its loss'
            return loss

        return built, official
    if args.theirs == 'mmpretrain':
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            config = get_config(MAE).model
            built = MODELS.build(dict(config, data_preprocessor=None))
        return built, lambda m: m(sample.inputs, [], mode='loss')['loss']
    from transformers import (
        VideoMAEConfig,
        VideoMAEForPreTraining,
        VideoMAEForVideoClassification,
    )

    clips = sample.inputs.transpose(1, 2)
    if args.ours == 'finetune':
        config = VideoMAEConfig()
        config.num_labels = 400
        built = VideoMAEForVideoClassification(config)
        return built, lambda m: class_loss(m(clips).logits)
    built = VideoMAEForPreTraining(VideoMAEConfig())
    return built, lambda m: m(clips, bool_masked_pos=sample.hidden).loss


def peak_bytes(make: Callable[[], Side], args: argparse.Namespace) -> int:
    """Largest sum of weights, moments, gradients and activations."""
    with MemTracker() as tracker:
        step = joint_step.train_step(*make(), args)
        step()  # which makes the moments
        tracker.reset_mod_stats()
        step()
    peak = tracker.get_tracker_snapshot('peak')
    return sum(device['Total'] for device in peak.values())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    args = parse_args(arguments)
    torch.manual_seed(0)
    method = METHODS[KINDS[args.ours]]
    sample = draw_sample(method, args.batch)
    code: Any = nullcontext()
    if args.theirs == 'official':
        code = official_modules(method.clone(args.official))
    with code:
        make = dict(
            ours=partial(ours, args.ours, sample),
            theirs=partial(theirs, args, sample),
        )
        if args.memory:
            peak = {n: peak_bytes(side, args) for n, side in make.items()}
            lines = [f'{n}: {x / 2**30:.2f} GiB' for n, x in peak.items()]
            return measures.report(args, {'peak_bytes': peak}, lines)
        steps = {
            name: joint_step.train_step(*side(), args)
            for name, side in make.items()
        }
        times = measures.in_turn(steps, args)
    ratio = measures.ratio(times['ours'], times['theirs'])
    name = f'{args.ours} / {args.theirs} {KINDS[args.ours]}'
    lines = [f'{name}: {measures.text(ratio)}']
    measures.report(args, {'ratio': ratio}, lines, seconds=times)


if __name__ == '__main__':
    main()
