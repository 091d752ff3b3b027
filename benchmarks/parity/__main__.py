"""Compare baselines with the official code of their authors.

Official models get random weights, biases and norms included; the same
weights, renamed, go into this project's configs, and both see the same
pictures and the same mask. Printed is the largest difference, relative to the
official side's largest number, of features, predictions, targets, loss and
gradients (of the worst tensor), for ViT-B at full size, in fp32 on the CPU.

The official code is no part of this project. The user clones each repository
into one folder; what is missing is named, with the command that clones it:

    git clone https://github.com/facebookresearch/mae official/mae
    pip install timm fvcore iopath yacs hydra-core omegaconf simplejson
    python -m benchmarks.parity official MAE
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from subprocess import run
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn

from benchmarks.parity.methods import BATCH, METHODS, SIDE, Method, Sample
from benchmarks.parity.methods import TOKENS as SIDE_TOKENS
from benchmarks.parity.stand_ins import official_modules
from benchmarks.robustness.common import print_head, print_row
from bimm_mm.models.layers.transformer import position_table
from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch, TokenIndices

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'baselines'
COLUMNS = ('features', 'prediction', 'target', 'loss', 'gradients')
NOISE = 0.02  # added to all official weights


def our_branch(method: Method) -> Any:
    """The branch of the method's config, in the form it is compared in."""
    model = Config.fromfile(CONFIGS / f'{method.config}.py').model
    model.backbone.update(method.backbone or {})
    branch = MODELS.build(dict(model, data_preprocessor=None))
    if method.out_channels:
        for area in branch.areas.values():
            width = area.decoder.decoder_dims
            area.decoder.pred = nn.Linear(width, method.out_channels)
    return branch


def convert(
    state: Mapping[str, Tensor], method: Method, branch: nn.Module
) -> dict[str, Tensor]:
    """Rename and reshape weights, or gradients, of an official model.

    Raises:
        ValueError: If the method has no rule for a key.
    """
    found = {}
    for key, value in state.items():
        for pattern, ours in method.rules.items():
            if match := re.fullmatch(pattern, key):
                if ours is not None:
                    found[match.expand(ours)] = value
                break
        else:
            raise ValueError(f'{method.config}: no rule for official {key!r}')
    for key in [key for key in found if '.attn.q.' in key]:
        parts = [found.pop(key.replace('.q.', f'.{p}.')) for p in 'qkv']
        found[key.replace('.q.', '.qkv.')] = torch.cat(parts)
    shapes = {key: value.shape for key, value in branch.state_dict().items()}
    for key, value in found.items():
        if method.order is not None and '.decoder.pred.' in key:
            value = value[method.order]
        # 1 x 1 convolutions are linear layers here.
        found[key] = value.reshape(shapes[key])
    return found


def draw_sample(method: Method, batch: int = BATCH) -> Sample:
    """Smooth pictures that move, with noise, and a random mask."""
    frames = 1 if method.frames == 2 else method.frames
    wide = F.interpolate(
        torch.rand(batch, 3, 28, 28), (SIDE, SIDE + 2 * frames), mode='bicubic'
    )
    shown = [wide[..., 2 * i : 2 * i + SIDE] for i in range(frames)]
    pixels = torch.stack(shown, 2)
    pixels = (pixels + 0.1 * torch.randn_like(pixels)).clamp(0, 1)
    # Whole levels; two frames are one picture, twice.
    pixels = pixels.mul(255).round().div(255)
    pixels = pixels.repeat(1, 1, method.frames // frames, 1, 1)
    mean, std = (torch.tensor(x).view(3, 1, 1, 1) for x in method.colors)
    grid = (max(method.frames // 2, 1), SIDE_TOKENS, SIDE_TOKENS)
    order = torch.rand(batch, grid[0] * SIDE_TOKENS**2).argsort(1)
    indices = TokenIndices(
        order[:, : method.visible].sort(1).values,
        order[:, method.visible :].sort(1).values,
    )
    hidden = torch.zeros_like(order, dtype=torch.bool)
    hidden.scatter_(1, indices.hidden, True)
    clips = ClipBatch((pixels - mean) / std, pixels)
    return Sample(clips, hidden, indices, grid)


def compare(method: Method, clone: Path) -> dict[str, float | None]:
    """Run both sides once; relative differences by column."""
    torch.manual_seed(0)
    branch, sample = our_branch(method), draw_sample(method)
    with official_modules(clone / method.inside):
        model = method.build(import_module(method.module), clone)
        _perturb(model, method, sample)
        theirs = _record(model, [name for name, _ in method.features])
        raw, loss, targets = method.run(model, sample)

    def pick(x: Tensor, area: str) -> Tensor:
        return method.pick(x, sample, area)

    branch.load_state_dict(convert(model.state_dict(), method, branch))
    branch.masking.forward = lambda *_, **__: sample.indices
    ours = _record(branch, [name for _, name in method.features])
    outputs = branch.forward_areas(sample.clips)
    if loss is None:
        # Gradients are those of the mean square of all predictions.
        found = [pick(x, area).square().mean() for area, x in raw.items()]
        torch.stack(found).sum().backward()
        squares = [x.prediction.square().mean() for x in outputs.values()]
        torch.stack(squares).sum().backward()
        losses, targets = [], {}
    else:
        for x in raw.values():
            x.retain_grad()
        loss.backward()
        our_loss = sum(branch.head.loss(outputs).values())
        our_loss.backward()
        losses = [(loss, our_loss)]
        if targets is None:
            # Of the mean of (x - target)^2.
            targets = {
                area: x - _grad(x) * pick(x, area).numel() / 2
                for area, x in raw.items()
            }
    parameters = dict(branch.named_parameters())
    gradients = convert(
        {
            name: _grad(parameter)
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        },
        method,
        branch,
    )
    pairs = {
        'features': [(theirs[a], ours[b]) for a, b in method.features],
        'prediction': [(pick(raw[a], a), outputs[a].prediction) for a in raw],
        'target': [
            (pick(x, a), outputs[a].target) for a, x in targets.items()
        ],
        'loss': losses,
        'gradients': [(x, _grad(parameters[k])) for k, x in gradients.items()],
    }
    return {
        column: max((_relative(*pair) for pair in found), default=None)
        for column, found in pairs.items()
    }


def _perturb(model: nn.Module, method: Method, sample: Sample) -> None:
    """Make all weights count, and positions the computed ones."""
    for name, parameter in model.named_parameters():
        if name in method.tables:
            video, width = method.frames > 1, parameter.shape[2]
            table = position_table(sample.grid, width, video=video)
            # The class token's position is 0.
            extra = parameter.shape[1] - len(table)
            parameter.data[0] = F.pad(table, (0, 0, extra, 0))
        elif parameter.requires_grad:
            parameter.data.add_(NOISE * torch.randn_like(parameter))


def _record(model: nn.Module, names: Sequence[str]) -> dict[str, Tensor]:
    """What modules give when they are called next, by name."""
    seen: dict[str, Tensor] = {}
    for name in names:

        def keep(_: object, __: object, x: Any, name: str = name) -> None:
            seen[name] = x[0] if isinstance(x, tuple) else x

        model.get_submodule(name).register_forward_hook(keep)
    return seen


def _grad(x: Tensor) -> Tensor:
    assert x.grad is not None
    return x.grad


def _relative(theirs: Tensor, ours: Tensor) -> float:
    difference = (theirs.reshape(ours.shape) - ours).abs().max()
    return float(difference / theirs.abs().max())


def _revision(clone: Path) -> str:
    command = ['git', '-C', str(clone), 'rev-parse', '--short=7', 'HEAD']
    done = run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or '-'


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; the exit code is 1 where code is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('root', type=Path, help='folder of the clones')
    parser.add_argument('methods', nargs='*', help=', '.join(METHODS))
    args = parser.parse_args(arguments)
    if unknown := set(args.methods) - set(METHODS):
        parser.error(f'no method {unknown}: choose of {", ".join(METHODS)}')
    missing: dict[str, str] = {}
    print_head('method', 'revision', *COLUMNS)
    for name in args.methods or METHODS:
        repository = METHODS[name].repository
        clone = METHODS[name].clone(args.root)
        if not clone.is_dir():
            url = f'https://github.com/{repository}'
            command = f'git clone {url} {clone}'
            missing.setdefault(repository, f'{name} is missing: {command}')
            continue
        # What their code says, and is warned of, is no part of the table.
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            row = compare(METHODS[name], clone)
        cells = ['-' if x is None else f'{x:.1e}' for x in row.values()]
        print_row(name, _revision(clone), *cells)
    for line in missing.values():
        print(line, file=sys.stderr)
    return int(bool(missing))


if __name__ == '__main__':
    sys.exit(main())
