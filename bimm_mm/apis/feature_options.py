"""What to extract, and how: the options of both feature tools."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

ENCODER = 'encoder'
TRIVIAL = ('motion-energy', 'middle-frame')
KINDS = (ENCODER, *TRIVIAL)
SPLITS = ('train', 'val', 'test')
LEVELS = ('clip', 'frame', 'token')
POOLS = ('cls', 'avg')


@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """Options of an extraction; what contradicts itself is refused.

    Args:
        kind (str): ``'encoder'``, or a trivial feature to compare with:
            ``'motion-energy'`` or ``'middle-frame'``. Defaults to
            ``'encoder'``.
        split (str): Which dataset of the config: ``'train'``, ``'val'`` or
            ``'test'``. Defaults to ``'val'``.
        pipeline (str, optional): Whose transforms, ``'val'`` or ``'test'``.
            Defaults to None: those of ``'test'`` for the split ``'test'``,
            else of ``'val'``, also for training samples.
        level (str): ``'clip'`` (D,), ``'frame'`` (t, D), the mean over space
            of each tubelet, or ``'token'`` (t, h, w, D) per sample. Defaults
            to ``'clip'``.
        pool (str, optional): Level ``'clip'`` only: ``'cls'``, the class
            token, or ``'avg'``, the mean of the patch tokens. Defaults to
            None: the class token if there is one and the level is clip.
        blocks (tuple[int, ...]): After how many blocks, each in 1..depth.
            Defaults to (): after the last.
        half (bool): Store float16 and not float32. Defaults to False.
        batch_size (int, optional): Samples at a time, at least 1. Defaults
            to None: that of the config's loader.
        workers (int, optional): Processes that decode, at least 0. Defaults
            to None: those of the config's loader.
        device (str, optional): Where the encoder runs. Defaults to None:
            ``'cuda'`` if torch sees a GPU when it is built, else ``'cpu'``.
        amp (bool): Run the encoder in bfloat16 where autocast does. Defaults
            to False.
        skip_bad (bool): Leave out files that cannot be decoded, and list
            them. Defaults to False: they are an error.
        seed (int): Of the random weights, if there is no checkpoint.
            Defaults to 0.

    Raises:
        ValueError: If a value is unknown, or two contradict each other.
    """

    kind: str = ENCODER
    split: str = 'val'
    pipeline: str | None = None
    level: str = 'clip'
    pool: str | None = None
    blocks: tuple[int, ...] = ()
    half: bool = False
    batch_size: int | None = None
    workers: int | None = None
    device: str | None = None
    amp: bool = False
    skip_bad: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        _check_choice('kind', self.kind, KINDS)
        _check_choice('split', self.split, SPLITS)
        _check_choice('pipeline', self.pipeline, (None, 'val', 'test'))
        _check_choice('level', self.level, LEVELS)
        _check_choice('pool', self.pool, (None, *POOLS))
        if self.pool == 'cls' and self.level != 'clip':
            raise ValueError(
                f'pool=cls with level={self.level}: the class token has no '
                'place in time or space; use level=clip, or pool=avg'
            )
        encoder_only = self.level != 'clip' or self.pool or self.blocks
        if self.kind in TRIVIAL and encoder_only:
            raise ValueError(
                f'{self.kind} has one feature per clip: level, pool and '
                'block are for the encoder'
            )
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f'batch_size is {self.batch_size}: at least 1')
        if self.workers is not None and self.workers < 0:
            raise ValueError(f'workers is {self.workers}: at least 0')


def _check_choice(
    name: str, value: str | None, choices: tuple[str | None, ...]
) -> None:
    if value not in choices:
        known = ', '.join(str(choice) for choice in choices if choice)
        raise ValueError(f'unknown {name} {value!r}: choose from {known}')


def add_feature_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags that ``extract_features.py`` and ``probe.py`` have in common.

    Args:
        parser (ArgumentParser): Changed in place.
    """
    parser.add_argument(
        '--pipeline',
        choices=['val', 'test'],
        help="whose transforms; default: the test set's for the test set, "
        "else the validation set's, for training samples too",
    )
    parser.add_argument(
        '--pool',
        choices=POOLS,
        help='class token or mean of the patch tokens; default: the class '
        'token if there is one',
    )
    parser.add_argument(
        '--block',
        type=int,
        nargs='+',
        default=[],
        help='after how many blocks, one or several; default: after the last',
    )
    parser.add_argument(
        '--batch-size', type=int, help="default: that of the config's loader"
    )
    parser.add_argument(
        '--workers', type=int, help="default: those of the config's loader"
    )
    parser.add_argument(
        '--device', help='default: cuda if there is one, else cpu'
    )
    parser.add_argument(
        '--amp', action='store_true', help='run the encoder in bfloat16'
    )
    parser.add_argument(
        '--skip-bad',
        action='store_true',
        help='leave out, and list, files that cannot be decoded',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='of random weights and of the inner folds; default: 0',
    )


def feature_options(
    args: argparse.Namespace, **more: object
) -> FeatureOptions:
    """Options from the flags of :func:`add_feature_arguments`.

    Args:
        args (Namespace): Parsed flags.
        **more (object): Other options, and those that differ from the flags.

    Returns:
        FeatureOptions: The options.

    Raises:
        ValueError: See :class:`FeatureOptions`.
    """
    flags = {
        'pipeline': args.pipeline,
        'pool': args.pool,
        'blocks': tuple(args.block),
        'batch_size': args.batch_size,
        'workers': args.workers,
        'device': args.device,
        'amp': args.amp,
        'skip_bad': args.skip_bad,
        'seed': args.seed,
    }
    return FeatureOptions(**flags | more)
