"""Why does an area not help? Gradients of areas and features of blocks.

Shapes: B samples, N tokens, D width of the encoder, A areas.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from bimm_mm.datasets import MixedDataset
from bimm_mm.engine.metrics import area_metrics
from bimm_mm.models.pretrainers.bimm import BIMM
from bimm_mm.models.pretrainers.masked_branch import MaskedBranch
from bimm_mm.registry import HOOKS
from bimm_mm.structures import ClipBatch
from bimm_mm.utils.random_state import seeded

Pretrainer = MaskedBranch | BIMM
# One tensor per parameter; None where the loss does not reach it.
Gradient = Sequence[Tensor | None]


@HOOKS.register_module()
class DiagnosisHook(Hook):
    """Logs how areas pull at the blocks that they share.

    Before the first step, every ``interval`` iterations and at the end it
    measures on a few samples of the training set, always with the same
    samples, frames and masks, without drop path and in fp32. Scalars and one
    picture, ``diagnosis``, go to the visualizer:

    - ``diagnosis/<area>/relative_error``: error over that of predicting the
      target's mean (see :class:`bimm_mm.AreaLoss`; not for codes);
    - ``diagnosis/<area>/gradient_norm``: of the weighted loss, at the shared
      blocks (see :func:`shared_blocks`);
    - ``diagnosis/cosine/<area>__<area>``: between their gradients, at the
      parameters that both reach; below 0 they pull them apart;
    - ``diagnosis/<branch>_block<i>/effective_rank``: of the tokens after a
      block, nothing masked.

    The training goes on as if nothing had happened: random state, gradients
    and modes of the modules are as before. With several processes rank 0
    measures on its own replica; the others wait for it at their next step.
    ``batch_size`` samples are chosen without replacement.
    """

    # After validation, curves and checkpoints of the same step.
    priority = 'LOWEST'

    def __init__(self, interval: int, *, batch_size: int = 8) -> None:
        self.interval, self.batch_size = interval, batch_size
        self._batch: dict[str, Any] = {}
        self._last = -1

    def before_train(self, runner: Runner) -> None:
        """Choose the samples, and measure what has not been trained.

        Raises:
            ValueError: If the model is none of ours.
        """
        model = _unwrap(runner.model)  # on every rank, so that all stop
        if not is_main_process():
            return
        with preserve_state(model):
            self._batch = _choose(runner.train_dataloader, self.batch_size)
        if runner.iter == 0:
            self._measure(runner, 0)

    def after_train_iter(self, runner: Runner, *args: Any, **kw: Any) -> None:
        """Measure every ``interval`` iterations."""
        if self.every_n_train_iters(runner, self.interval):
            self._measure(runner, runner.iter + 1)

    def after_train(self, runner: Runner) -> None:
        """Measure once more, unless just done."""
        if self._last != runner.iter:
            self._measure(runner, runner.iter)

    def _measure(self, runner: Runner, step: int) -> None:
        """Measure on rank 0; nothing here may talk to other ranks."""
        self._last = step
        if not is_main_process():
            return
        model = _unwrap(runner.model)
        clips = model.data_preprocessor(self._batch, False)['inputs']
        # Seeded alike, errors and gradients are of the same frames and masks.
        with preserve_state(model), torch.no_grad():
            errors = area_metrics(model(clips, mode='predict')[0])
        with preserve_state(model):
            gradients = area_gradients(model, clips)
            cosines = cosine_matrix(list(gradients.values()))
            ranks = {
                name: effective_rank(tokens.flatten(0, 1))
                for name, tokens in block_features(model, clips).items()
            }
        names = list(gradients)
        scalars = {f'{name}/effective_rank': x for name, x in ranks.items()}
        for name, metrics in errors.items():
            if 'ratio' in metrics:
                scalars[f'{name}/relative_error'] = metrics['ratio']
        for name, gradient in gradients.items():
            scalars[f'{name}/gradient_norm'] = gradient_norm(gradient)
        for i, j in itertools.combinations(range(len(names)), 2):
            if not np.isnan(cosines[i, j]):
                scalars[f'cosine/{names[i]}__{names[j]}'] = cosines[i, j]
        scalars = {f'diagnosis/{key}': x for key, x in scalars.items()}
        runner.visualizer.add_scalars(scalars, step=step)
        picture = plot(names, cosines, ranks)
        runner.visualizer.add_image('diagnosis', picture, step=step)


def area_gradients(model: Pretrainer, clips: ClipBatch) -> dict[str, Gradient]:
    """Gradient of every area's weighted loss at the shared blocks, by name.

    No ``.grad`` is written.
    """
    blocks = nn.ModuleList(shared_blocks(model))
    parameters = [p for p in blocks.parameters() if p.requires_grad]
    return {
        name.removeprefix('loss_'): torch.autograd.grad(
            loss, parameters, retain_graph=True, allow_unused=True
        )
        for name, loss in model.loss(clips).items()
        if name.startswith('loss_')
    }


def shared_blocks(model: Pretrainer) -> list[nn.Module]:
    """The blocks at which gradients of areas meet.

    Of BIMM those that both encoders share and that at least two areas reach;
    of a single branch, or where nothing is shared, those that at least two
    areas reach. If there are none, all that any area reaches.
    """
    reached: Counter[nn.Module] = Counter()
    encoders: Counter[nn.Module] = Counter()
    for branch in _branches(model).values():
        blocks = list(branch.backbone.blocks)
        encoders.update(blocks)
        for area in branch.areas.values():
            reached.update(blocks[: area.after_block])
    often = [block for block, count in reached.items() if count > 1]
    both = [block for block in often if encoders[block] > 1]
    return both or often or list(reached)


def cosine_matrix(gradients: Sequence[Gradient]) -> np.ndarray:
    """Cosines (A, A) between gradients, at the parameters that both reach.

    Where only one of two losses reaches a parameter, the other has no say
    there: counting it would only make every cosine smaller. NaN where two
    reach no parameter in common, or one of them is zero there.
    """
    matrix = np.full((len(gradients), len(gradients)), np.nan)
    for i, one in enumerate(gradients):
        for j, other in enumerate(gradients[: i + 1]):
            pairs = zip(one, other, strict=True)
            both = [
                (a, b) for a, b in pairs if a is not None and b is not None
            ]
            norms = [gradient_norm(part) for part in zip(*both, strict=True)]
            if not norms or not all(norms):
                continue
            # In float64: sums of millions of small numbers.
            dot = sum(float((a.double() * b.double()).sum()) for a, b in both)
            matrix[i, j] = matrix[j, i] = dot / math.prod(norms)
    return matrix.clip(-1, 1)


def gradient_norm(gradient: Gradient) -> float:
    """Euclidean norm over all parameters that are reached."""
    reached = [part.double() for part in gradient if part is not None]
    return float(torch.nn.utils.get_total_norm(reached))


def block_features(model: Pretrainer, clips: ClipBatch) -> dict[str, Tensor]:
    """Patch tokens (B, N, D) fp32 after every block, nothing masked.

    By ``<branch>_block<i>``, i from 1; those of the last block have passed the
    encoder's final norm. BIMM's ventral branch sees the middle frame.
    """
    found = {}
    for prefix, branch in _branches(model).items():
        seen = clips
        if prefix == 'ventral_':
            middle = torch.tensor([clips.size[0] // 2] * len(clips.pixels))
            seen = clips.frame(middle.to(clips.pixels.device))
        backbone = branch.backbone
        blocks = range(1, backbone.depth + 1)
        with torch.no_grad():
            features = backbone.encode(seen.inputs, None, blocks)
        first = int(backbone.cls_token is not None)
        for block, tokens in features.items():
            found[f'{prefix}block{block}'] = tokens[:, first:].float()
    return found


def effective_rank(features: Tensor) -> float:
    """How many directions vectors use, apart from what they have in common.

    Exponential of the entropy of the normalized singular values (Roy and
    Vetterli, EUSIPCO 2007, Definition 1): r for r equal singular values, less
    where some are small. Unlike there, the mean vector is taken off first: by
    far the largest direction of a residual stream, and the one that does not
    tell tokens apart. 0 if all vectors are equal.
    """
    features = features.double()
    centered = features - features.mean(0)
    # Equal vectors leave rounding errors, which have a rank of their own.
    if centered.abs().max() <= 1e-6 * features.abs().max():
        return 0.0
    # The Gram matrix has the squares of the singular values; for 12544 tokens
    # of width 768 that is much less work.
    squares = torch.linalg.eigvalsh(centered.T @ centered).clamp(min=0)
    shares = squares.sqrt() / squares.sqrt().sum()
    return float(torch.special.entr(shares).sum().exp())


def plot(
    names: Sequence[str], cosines: np.ndarray, ranks: Mapping[str, float]
) -> np.ndarray:
    """Picture (H, W, 3), uint8 RGB, of the cosines and the effective ranks."""
    # Importing matplotlib takes a third of a second, for every other hook too.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout='constrained')
    left, right = figure.subplots(1, 2)
    left.set_title('Cosine of gradients at the shared blocks')
    left.imshow(cosines, cmap='RdBu', vmin=-1, vmax=1)
    for (row, column), cosine in np.ndenumerate(cosines):
        text = '-' if np.isnan(cosine) else f'{cosine:.2f}'
        left.text(column, row, text, ha='center', va='center')
    left.set_xticks(range(len(names)), names, rotation=30, ha='right')
    left.set_yticks(range(len(names)), names)
    right.set(title='Effective rank of tokens', xlabel='after block')
    for prefix in dict.fromkeys(name.rpartition('block')[0] for name in ranks):
        values = [x for name, x in ranks.items() if name.startswith(prefix)]
        label = prefix.rstrip('_') or 'encoder'
        right.plot(range(1, len(values) + 1), values, marker='.', label=label)
    right.set_ylim(bottom=0)
    right.legend()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _branches(model: Pretrainer) -> dict[str, MaskedBranch]:
    """Branches by what precedes their areas' names; '' for a single one."""
    if isinstance(model, BIMM):
        return {'ventral_': model.ventral, 'dorsal_': model.dorsal}
    return {'': model}


@contextmanager
def preserve_state(model: nn.Module) -> Iterator[None]:
    """Seed all random numbers, evaluate; put everything back afterwards.

    Inside, the model is in evaluation mode: no drop path, and batch norms
    keep their statistics. Gradients are recorded, but nobody may call
    ``backward``, which would write into ``.grad``; ``torch.autograd.grad``
    does not.
    """
    modes = [(module, module.training) for module in model.modules()]
    device = next(model.parameters()).device
    cuda = [device] if device.type == 'cuda' else []
    with seeded(0), torch.random.fork_rng(cuda), torch.enable_grad():
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(0)
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode


def _unwrap(model: nn.Module) -> Pretrainer:
    """The pretraining model behind what the runner trains."""
    if isinstance(model, DistributedDataParallel):
        model = model.module
    if is_model_wrapper(model) or not isinstance(model, Pretrainer):
        raise ValueError(
            'bimm_mm.DiagnosisHook needs all weights of a '
            'bimm_mm.MaskedBranch or a bimm_mm.BIMM on rank 0, not '
            f'{type(model).__name__}: remove it from custom_hooks, or train '
            'with MMDistributedDataParallel'
        )
    return model


def _choose(loader: DataLoader, count: int) -> dict[str, Any]:
    """Random samples of a loader's dataset, collated, on the CPU."""
    # Not through the loader: a second pass over one with persistent workers
    # would spoil the first.
    dataset: Any = loader.dataset
    order = torch.randperm(len(dataset)).tolist()
    if isinstance(dataset, MixedDataset):
        # Images and clips do not stack: all are of the first one's kind.
        part = dataset.part_of(order[0])
        order = [i for i in order if dataset.part_of(i) == part]
    return loader.collate_fn([dataset[i] for i in order[:count]])
