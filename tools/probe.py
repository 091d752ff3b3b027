#!/usr/bin/env python
"""Linear probe and k-NN: how well frozen features tell classes apart.

probe.py train.npz val.npz                     files of extract_features.py
probe.py a.npz b.npz --folds TRAIN VAL         each file on folds of itself
probe.py CONFIG CHECKPOINT [--folds ...]       extracts in memory
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from extract_features import add_feature_arguments, feature_options
from tabulate import tabulate

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.apis.config import load_config
from bimm_mm.apis.encoder_features import (
    ENCODER,
    NO_CHECKPOINT,
    SPLITS,
    TRIVIAL,
    FeatureOptions,
)
from bimm_mm.apis.feature_file import Features, check_same_kind, read_features
from bimm_mm.apis.features import extract_features
from bimm_mm.apis.probe import (
    METHODS,
    ProbeOptions,
    find_folds,
    probe_features,
    split_fold,
    summary,
)
from bimm_mm.utils.files import write_json

_RANDOM = 'random'
# Name of the fold, training set, validation set.
_Folds = list[tuple[str, Features, Features]]


def parse_args() -> argparse.Namespace:
    """Flags of this script."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'sources',
        nargs='+',
        help="feature files, or a config and a checkpoint ('none': random)",
    )
    parser.add_argument(
        '--folds',
        nargs=2,
        metavar=('TRAIN', 'VAL'),
        help="list files, {} for the number of the fold: 'fold{}_train.txt' "
        "'fold{}_val.txt'",
    )
    parser.add_argument(
        '--method',
        nargs='+',
        choices=METHODS,
        default=list(METHODS),
        help='default: both',
    )
    parser.add_argument('--out', help='JSON file of all results')
    linear = parser.add_argument_group('linear probe')
    linear.add_argument(
        '--c',
        type=float,
        help='inverse strength of the L2 penalty; default: chosen by '
        'cross-validation inside the training set',
    )
    linear.add_argument(
        '--groups',
        help='regular expression: training samples whose paths match with '
        'the same text, such as clips of one video, stay together in that '
        'cross-validation',
    )
    linear.add_argument(
        '--pca', type=int, default=0, help='components; default: no PCA'
    )
    linear.add_argument(
        '--jobs', type=int, default=1, help='processes; default: 1'
    )
    knn = parser.add_argument_group('k-NN')
    knn.add_argument('--k', type=int, default=20, help='default: 20')
    knn.add_argument(
        '--temperature',
        type=float,
        help='weigh votes by exp(similarity / temperature), as DINO with '
        '0.07; default: equal votes',
    )
    group = parser.add_argument_group('with a config and a checkpoint')
    group.add_argument(
        '--features',
        nargs='+',
        choices=[ENCODER, _RANDOM, *TRIVIAL],
        default=[ENCODER],
        help='what to compare; default: encoder',
    )
    group.add_argument(
        '--split',
        choices=SPLITS,
        help='which dataset has all samples of the folds; default: val',
    )
    add_feature_arguments(group)
    return parser.parse_args()


def sources(args: argparse.Namespace) -> Iterator[tuple[str, _Folds]]:
    """Name and folds of every feature to probe."""
    if any(name.endswith('.npz') for name in args.sources):
        yield from from_files(args)
    elif len(args.sources) == 2:
        yield from from_config(args)
    else:
        raise ValueError(
            'give feature files ending with .npz, or a config and a '
            f'checkpoint, not {" ".join(args.sources)}'
        )


def from_files(args: argparse.Namespace) -> Iterator[tuple[str, _Folds]]:
    """Read feature files."""
    if args.folds:
        for name in args.sources:
            yield Path(name).stem, cut(read_features(name), args)
        return
    if len(args.sources) != 2:
        raise ValueError(
            f'{len(args.sources)} feature files: give two, of training and '
            'of validation, or --folds'
        )
    train, val = map(read_features, args.sources)
    check_same_kind(train, val)
    if train.meta.get('pipeline') != val.meta.get('pipeline'):
        print('note: training and validation had different transforms')
    yield train.meta['features'], [('', train, val)]


def from_config(args: argparse.Namespace) -> Iterator[tuple[str, _Folds]]:
    """Extract every feature that was asked for."""
    if args.split and not args.folds:
        raise ValueError('--split goes with --folds: it names all samples')
    config, checkpoint = args.sources
    cfg = load_config(config, args.cfg_options)
    splits = [args.split or 'val'] if args.folds else ['train', 'val']
    if args.folds:  # before anything is extracted
        find_folds(*args.folds)
    for kind in args.features:
        weights = checkpoint if kind == ENCODER else NO_CHECKPOINT
        found = [
            extract_features(cfg, weights, options_of(kind, split, args))
            for split in splits
        ]
        if args.folds:
            yield kind, cut(found[0], args)
        else:
            train, val = found
            check_same_kind(train, val)
            yield kind, [('', train, val)]


def options_of(
    kind: str, split: str, args: argparse.Namespace
) -> FeatureOptions:
    """Options of one extraction; --pool and --block are the encoder's."""
    if kind in TRIVIAL:
        return feature_options(
            args, kind=kind, split=split, pool=None, blocks=()
        )
    return feature_options(args, kind=ENCODER, split=split)


def cut(features: Features, args: argparse.Namespace) -> _Folds:
    """The folds of all samples."""
    return [
        (fold.name, *split_fold(features, fold))
        for fold in find_folds(*args.folds)
    ]


def evaluate(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Probe every feature by every method."""
    names = ProbeOptions.__dataclass_fields__
    options = ProbeOptions(**{name: getattr(args, name) for name in names})
    results = []
    for source, folds in sources(args):
        for name in folds[0][1].arrays:
            for method in args.method:
                scores = [
                    probe_features(
                        train,
                        val,
                        method=method,
                        name=name,
                        fold=fold,
                        options=options,
                    )
                    for fold, train, val in folds
                ]
                meta = dict(folds[0][1].meta)
                meta.pop('config_text', None)
                result = {'source': source, 'array': name, 'method': method}
                results.append({**result, **summary(scores), 'meta': meta})
    return results


def show(results: Sequence[Mapping[str, Any]]) -> str:
    """A line for each feature and method, and what to compare it with."""
    rows = []
    for result in results:
        std, top5 = result['top1_std'], result['top5']
        low, high = result['top1_interval']
        rows.append(
            {
                'features': result['source'],
                'array': result['array'],
                'method': result['method'],
                'top-1': f'{result["top1"]:.1f}'
                + ('' if std is None else f' +- {std:.1f}'),
                '95 %': f'{low:.1f} to {high:.1f}',
                'top-5': '' if top5 is None else f'{top5:.1f}',
                'folds': ' '.join(f'{f["top1"]:.1f}' for f in result['folds']),
            }
        )
    folds = results[0]['folds']
    samples = sum(fold['val'] for fold in folds)
    return '\n'.join(
        [
            tabulate(rows, 'keys', 'plain', disable_numparse=True),
            f'chance {100 / folds[0]["classes"]:.1f} %, always the most '
            f'frequent training class {results[0]["majority"]:.1f} %',
            f'95 %: interval for other samples, from {samples} validation '
            'samples; +-: standard deviation over folds',
        ]
    )


def main() -> None:
    """Probe."""
    args = parse_args()
    try:
        results = evaluate(args)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f'probe.py: error: {error}') from None
    print(show(results))
    if args.out:
        write_json(results, args.out)


if __name__ == '__main__':
    main()
