"""Golden values: what a refactoring must not change.

Three things are stored beside this file: ``numbers.json`` (losses and
gradient norms of every pretraining config at toy width, one thread),
``structure.json.gz`` (what a run reads of every config, and every state-dict
key) and the hash of one contour file, in ``numbers.json``. After a change
that is meant, and says so in its commit::

    python -m tests.golden.golden
"""

from __future__ import annotations

import gzip
import hashlib
import inspect
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor, nn

from bimm_mm.contours.format import write_contours
from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch
from tests.toy_configs import SIDE, shrink_model, shrink_sizes

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NUMBERS = HERE / 'numbers.json'
STRUCTURE = HERE / 'structure.json.gz'
BATCH = 2
# What a run reads of a config. The rest are helper variables of its files,
# such as `train_pipeline`: they act through what is built from them.
READ = {
    *inspect.signature(Runner).parameters,
    'compile',
    'contours',
    'custom_imports',
    'runner_type',
    'total_batch_size',
}


def leaf_configs() -> list[Path]:
    """Every config that can be run, as paths from the root."""
    found = sorted((ROOT / 'configs').rglob('*.py'))
    bases = {'_base_', 'data.py'}
    return [p.relative_to(ROOT) for p in found if not bases & {*p.parts}]


def pretraining_configs() -> list[Path]:
    """The configs that train a branch or both from scratch."""
    kinds = ('pretrain_', 'ablation_', 'schedule_')
    return [p for p in leaf_configs() if p.name.startswith(kinds)]


def resolved(path: Path) -> dict[str, Any]:
    """What a run reads of a leaf with all its bases; JSON types only."""
    config = Config.fromfile(ROOT / path).to_dict()
    config = {key: config[key] for key in READ & config.keys()}
    return json.loads(json.dumps(config, sort_keys=True, default=str))


def digest(value: object) -> str:
    """A short hash of a JSON value."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def toy_config(path: Path) -> dict[str, Any]:
    """The model's config of a pretraining config, at toy width."""
    model = Config.fromfile(ROOT / path).model
    if 'quickstart' not in path.parts:
        shrink_sizes(model)
        shrink_model(model)
    if 'ventral_checkpoint' in model:
        model['ventral_checkpoint'] = None
    return dict(model, data_preprocessor=None)


def toy_model(path: Path) -> nn.Module:
    """The model of a pretraining config at toy width, seeded."""
    torch.manual_seed(0)
    built = MODELS.build(toy_config(path))
    built.init_weights()
    return built


def clips(frames: int, device: str = 'cpu') -> ClipBatch:
    """Smooth random pictures that move by two pixels a frame, (B, 3, T, H, W).

    They stand in for real videos, so that the gate needs no data.
    """
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(BATCH, 4, 16, 16, generator=rng)
    wide = nn.functional.interpolate(
        coarse, size=(SIDE, SIDE + 2 * frames + 2), mode='bilinear'
    )
    shown = [wide[..., 2 * t : 2 * t + SIDE] for t in range(frames + 1)]
    video = torch.stack(shown, dim=2).to(device)
    pixels, contour = video[:, :3], video[:, 3:]
    return ClipBatch(
        inputs=(pixels[:, :, :-1] - 0.45) / 0.225,
        pixels=pixels[:, :, :-1],
        contour=contour[:, :, :-1],
        following=pixels[:, :, 1:],
    )


def losses_and_gradients(
    model: nn.Module, device: str = 'cpu'
) -> dict[str, dict[str, float]]:
    """Losses by name, and the gradient norm of every group of parameters."""
    branch = getattr(model, 'dorsal', model)
    batch = clips(branch.backbone.size[0], device)
    model.to(device)
    torch.manual_seed(1)
    losses = model(batch, mode='loss')
    total = sum(v for k, v in losses.items() if k.startswith('loss'))
    total.backward()
    return {
        'losses': {
            name: float(value.detach()) for name, value in losses.items()
        },
        'gradients': _norms(model),
    }


def _norms(model: nn.Module) -> dict[str, float]:
    """Gradient norms by group: a block, a decoder, an embedding."""
    squares: dict[str, float] = defaultdict(float)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            squares[_group(name)] += float(
                parameter.grad.double().square().sum()
            )
    return {name: square**0.5 for name, square in sorted(squares.items())}


def _group(name: str) -> str:
    """The module down to a block or an area's part, without its layers."""
    parts = name.split('.')
    for marker in ('blocks', 'areas'):
        if marker in parts:
            at = parts.index(marker)
            depth = at + (2 if marker == 'blocks' else 3)
            return '.'.join(parts[:depth])
    return '.'.join(parts[:-1]) or name


def keys_and_shapes(model: nn.Module) -> dict[str, list[int]]:
    """State-dict keys of a model with their shapes."""
    state: dict[str, Tensor] = model.state_dict()
    return {name: list(tensor.shape) for name, tensor in state.items()}


def contour_file() -> str:
    """Hash of the bytes of one contour file with fixed content."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 4, (3, 24, 32)).astype(np.uint8) * 85
    settings = {'detector': 'sobel', 'stride': 2, 'side': 24}
    source = dict(bytes=1000, crc32=5, size=[24, 32], frame_count=6)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'clip.mp4.zip'
        write_contours(
            str(path),
            iter(frames),
            [0, 2, 4],
            settings=settings,
            source=source,
        )
        return hashlib.sha256(path.read_bytes()).hexdigest()


def stored_numbers() -> dict[str, Any]:
    """Losses, gradient norms and the contour file's hash, as committed."""
    return json.loads(NUMBERS.read_text())


def stored_structure() -> dict[str, Any]:
    """Resolved configs and state-dict keys, as committed."""
    return json.loads(gzip.decompress(STRUCTURE.read_bytes()))


def write() -> None:
    """Make all golden values anew."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    models = {str(p): toy_model(p) for p in pretraining_configs()}
    configs = {str(p): resolved(p) for p in leaf_configs()}
    numbers = {
        'contour_file': contour_file(),
        'configs': {name: digest(config) for name, config in configs.items()},
        'steps': {
            name: _rounded(losses_and_gradients(model))
            for name, model in models.items()
        },
    }
    structure = {
        'configs': configs,
        'keys': {name: keys_and_shapes(m) for name, m in models.items()},
    }
    NUMBERS.write_text(json.dumps(numbers, indent=1) + '\n')
    packed = json.dumps(structure, sort_keys=True).encode()
    STRUCTURE.write_bytes(gzip.compress(packed, mtime=0))


def _rounded(step: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {
        part: {name: float(f'{x:.7g}') for name, x in values.items()}
        for part, values in step.items()
    }


if __name__ == '__main__':
    write()
