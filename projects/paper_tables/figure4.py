r"""Draw Figure 4: what models predict for samples of a test set.

Green is right and red is wrong. Shown are samples of every outcome (both
right, only the first, ...) in turn, and how often each outcome was among all
samples that were tried, which are drawn at random.

Example:
    python -m projects.paper_tables.figure4 \
        --model BIMM configs/downstream/ucf101/finetune_ucf101.py bimm.pth \
        --model VideoMAE videomae_ucf101.py videomae.pth --out figure4
"""

from __future__ import annotations

import argparse
import io
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image
from torch import Tensor

from bimm_mm.apis.config import load_config
from bimm_mm.apis.inference import init_model
from bimm_mm.apis.page import (
    Page,
    Picture,
    Section,
    data_uri,
    render_page,
)
from bimm_mm.datasets.transforms.formatting import find_label, find_path
from bimm_mm.utils.files import (
    atomic_path,
    show_any_name,
    write_any_name,
    write_text,
)
from bimm_mm.utils.progress import track

_FRAMES = 4


@dataclass(frozen=True)
class Example:
    """A sample and what each model says.

    Args:
        path: Its file.
        frames: (K, H, W, 3), uint8: frames of the first view.
        truth: Name of its class.
        guesses: Name of the best class by model.
    """

    path: str
    frames: Tensor
    truth: str
    guesses: Mapping[str, str]

    @property
    def outcome(self) -> str:
        """Such as ``'BIMM right, VideoMAE wrong'``."""
        words = ('wrong', 'right')
        return ', '.join(
            f'{name} {words[guess == self.truth]}'
            for name, guess in self.guesses.items()
        )

    @property
    def pictures(self) -> list[str]:
        """The frames as PNG files in data URIs."""
        texts = []
        for frame in self.frames.numpy():
            content = io.BytesIO()
            Image.fromarray(frame).save(content, 'PNG')
            texts.append(data_uri(content.getvalue(), '.png'))
        return texts


@torch.no_grad()
def predict(
    models: Mapping[str, tuple[str, str]],
    *,
    samples: int,
    seed: int = 0,
    device: str = 'cpu',
) -> list[Example]:
    """Let every model classify the same random samples of the test set.

    Args:
        models: Config and checkpoint by name; all configs have one test set.
        samples: How many are drawn, at most.
        seed: Which.
        device: Where the models run.

    Raises:
        ValueError: If a checkpoint does not fill its model, or test sets are
            not the same.
    """
    found: list[Example] = []
    guesses: dict[str, list[str]] = {}
    for name, (config, checkpoint) in models.items():
        cfg = load_config(config)
        if 'areas' in cfg.model or 'ventral' in cfg.model:
            raise ValueError(
                f'{config} is of a pretraining, whose model tells no classes '
                'apart: give the config of a finetuning'
            )
        if cfg.get('test_dataloader') is None:
            raise ValueError(f'{config} has no test_dataloader')
        model = init_model(cfg, checkpoint, device=device)
        init_default_scope(cfg.get('default_scope', 'mmengine'))
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        names = class_names(dataset)
        count = min(samples, len(dataset))
        indices = random.Random(seed).sample(range(len(dataset)), count)
        guesses[name] = []
        tracked = track(indices, total=count, title=name)
        for number, index in enumerate(tracked):
            info, sample = dataset.get_data_info(index), dataset[index]
            path, label = str(find_path(info)), find_label(info)
            if label is None:
                raise ValueError(f'{path} has no single class')
            if len(found) <= number:
                frames = shown_frames(sample['inputs'])
                found.append(Example(path, frames, names(label), {}))
            elif found[number].path != path:
                raise ValueError(
                    f'{config} tests {path} where the first config tests '
                    f'{found[number].path}: give configs of one test set'
                )
            (result,) = model.test_step(pseudo_collate([sample]))
            best = int(result.pred_score.argmax())
            guesses[name].append(names(best))
    each = zip(*guesses.values(), strict=True)
    return [
        Example(x.path, x.frames, x.truth, dict(zip(guesses, g, strict=True)))
        for x, g in zip(found, each, strict=True)
    ]


def class_names(dataset: Any) -> Callable[[int], str]:
    """Names of classes: those of the dataset, or of the class folders."""
    known = dict(enumerate(dataset.metainfo.get('classes') or ()))
    for index in range(0 if known else len(dataset)):
        info = dataset.get_data_info(index)
        label = find_label(info)
        if label is not None:
            known.setdefault(label, Path(str(find_path(info))).parent.name)
    # A class without a sample has no folder.
    return lambda label: known.get(label, f'class {label}')


def shown_frames(inputs: Tensor) -> Tensor:
    """Some frames of a test sample's first view.

    Args:
        inputs: (C, H, W), or (V, C, T, H, W) with V views.

    Returns:
        (K, H, W, 3), uint8.
    """
    views = inputs[None, :, None] if inputs.ndim == 3 else inputs
    video = views[0]
    last = video.shape[1] - 1
    index = torch.linspace(0, last, min(_FRAMES, last + 1)).round().long()
    return video[:, index].permute(1, 2, 3, 0).to(torch.uint8)


def choose(examples: Sequence[Example], count: int) -> list[Example]:
    """Examples of every outcome in turn, the rarest first."""
    kinds: dict[str, list[Example]] = {}
    for example in examples:
        kinds.setdefault(example.outcome, []).append(example)
    rows = zip_longest(*sorted(kinds.values(), key=len))
    return [x for x in chain.from_iterable(rows) if x is not None][:count]


def draw(examples: Sequence[Example]) -> Figure:
    """A row per example: its frames, the truth and the models' guesses."""
    columns = max(len(x.frames) for x in examples)
    size = (1.6 * columns + 3, 1.5 * len(examples))
    figure = Figure(size, layout='constrained')
    axes = figure.subplots(len(examples), columns + 1, squeeze=False)
    for example, line in zip(examples, axes, strict=True):
        for axis in line:
            axis.set_axis_off()
        for axis, frame in zip(line, example.frames.numpy(), strict=False):
            axis.imshow(frame)
        # Names are no formulas, whatever dollars are in them.
        text = dict(transform=line[-1].transAxes, fontsize=8, parse_math=False)
        line[-1].text(0, 0.85, show_any_name(f'GT: {example.truth}'), **text)
        for row, (name, guess) in enumerate(example.guesses.items(), 1):
            color = 'green' if guess == example.truth else 'red'
            words = show_any_name(f'{name}: {guess}')
            line[-1].text(0, 0.85 - 0.2 * row, words, color=color, **text)
    return figure


def render(examples: Sequence[Example], outcomes: Mapping[str, int]) -> str:
    """The page; names of files and classes are escaped."""
    tried = sum(outcomes.values())
    counts = [f'{n} of {tried}: {outcome}' for outcome, n in outcomes.items()]
    pictures = []
    for example in examples:
        marks = {}
        for name, guess in example.guesses.items():
            word = 'right' if guess == example.truth else 'wrong'
            marks[f'{name}: {guess} ({word})'] = word
        lines = [example.path, f'GT: {example.truth}', *marks]
        pictures.append(Picture(example.pictures, lines, marks))
    sections = [
        Section('Outcomes', items=counts),
        Section('Samples', pictures=pictures),
    ]
    return render_page(Page('Predictions on a test set', sections))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write figure4.html and figure4.png."""
    parser = argparse.ArgumentParser(
        prog='python -m projects.paper_tables.figure4',
        description=__doc__.splitlines()[0],
    )
    add = parser.add_argument
    add(
        '--model',
        nargs=3,
        action='append',
        required=True,
        metavar=('NAME', 'CONFIG', 'CHECKPOINT'),
        help='a finetuned model; give one for each model',
    )
    add('--samples', type=int, default=200, help='how many are tried')
    add('--num', type=int, default=6, help='how many are shown')
    add('--seed', type=int, default=0, help='which samples are drawn')
    add('--device', default='cpu', help='default: cpu')
    add('--out', type=Path, default=Path('figure4'), help='a folder')
    args = parser.parse_args(arguments)
    if min(args.samples, args.num) < 1:
        parser.error('--samples and --num must be at least 1')
    models = {name: (config, path) for name, config, path in args.model}
    if len(models) < len(args.model):
        parser.error('two of --model have one name: give each its own')
    write_any_name(sys.stdout)
    try:
        tried = predict(
            models,
            samples=args.samples,
            seed=args.seed,
            device=args.device,
        )
        outcomes = dict(Counter(x.outcome for x in tried).most_common())
        shown = choose(tried, args.num)
        with atomic_path(args.out / 'figure4.png') as draft:
            draw(shown).savefig(draft, dpi=150)
        write_text(render(shown, outcomes), args.out / 'figure4.html')
    except (ValueError, OSError) as error:
        parser.error(str(error))
    for outcome, count in outcomes.items():
        print(f'{count} of {len(tried)}: {outcome}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
