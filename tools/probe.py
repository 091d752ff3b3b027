#!/usr/bin/env python
"""Linear probe and k-NN: how well frozen features tell classes apart.

probe.py train.npz val.npz                     files of extract_features.py
probe.py a.npz b.npz --folds TRAIN VAL         each file on folds of itself
probe.py CONFIG CHECKPOINT [--folds ...]       extracts in memory
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from extract_features import SPLITS, add_feature_arguments, feature_options
from tabulate import tabulate

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.apis.config import load_config
from bimm_mm.apis.feature_file import Features, check_same_kind, read_features
from bimm_mm.apis.features import KINDS, extract_features
from bimm_mm.apis.probe import (
    METHODS,
    find_folds,
    probe_features,
    select_listed,
    summary,
)
from bimm_mm.utils.files import check_file, write_json
from bimm_mm.utils.processes import mistakes_told


def parse_args() -> argparse.Namespace:
    """Flags of this script."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    given = "feature files, or a config and a checkpoint ('none': random)"
    add('sources', nargs='+', help=given)
    folds = "list files, {} for the number of the fold: 'fold{}_train.txt' ..."
    add('--folds', nargs=2, metavar=('TRAIN', 'VAL'), help=folds)
    add('--method', nargs='+', choices=METHODS, default=list(METHODS))
    add('--out', help='JSON file of all results')
    c = 'inverse L2 penalty of the linear probe; default: of the best in folds'
    add('--c', type=float, help=c)
    add('--jobs', type=int, default=1, help='processes that fit; default: 1')
    add('--k', type=int, default=20, help='neighbors of k-NN; default: 20')
    group = parser.add_argument_group('with a config and a checkpoint')
    add = group.add_argument
    kinds = 'what to compare; default: encoder'
    default = ['encoder']
    add('--features', nargs='+', choices=KINDS, default=default, help=kinds)
    split = 'to test on after train, or with all samples of the folds'
    add(
        '--split', choices=SPLITS, default='val', help=f'{split}; default: val'
    )
    add_feature_arguments(group)
    return parser.parse_args()


def sources(args: argparse.Namespace) -> Iterator[tuple[str, list[Features]]]:
    """Name and features: of all samples, or of training and validation."""
    files = any(name.endswith('.npz') for name in args.sources)
    if len(args.sources) != 2 and not (files and args.folds):
        raise ValueError(
            'give two feature files ending with .npz, of training and of '
            'validation, any number of them with --folds, or a config and a '
            f'checkpoint, not {" ".join(args.sources)}'
        )
    if files and args.folds:
        for name in args.sources:
            yield Path(name).stem, [read_features(name)]
    elif files:
        train, val = map(read_features, args.sources)
        yield train.meta['features'], [train, val]
    else:
        config, checkpoint = args.sources
        cfg = load_config(config, args.cfg_options)
        weights = None if checkpoint == 'none' else checkpoint
        splits = [args.split] if args.folds else ['train', args.split]
        options = feature_options(args)
        for kind in args.features:
            found = [
                extract_features(
                    cfg, weights, kind=kind, split=split, **options
                )
                for split in splits
            ]
            yield kind, found


def evaluate(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Probe every feature by every method."""
    names = ('c', 'k', 'seed', 'jobs')
    options = {name: getattr(args, name) for name in names}
    # Missing lists are found before anything is extracted.
    lists = find_folds(*args.folds) if args.folds else {}
    results = []
    for source, found in sources(args):
        folds = {
            fold: [select_listed(found[0], file) for file in files]
            for fold, files in lists.items()
        } or {'': found}
        for train, val in folds.values():
            check_same_kind(train, val)
        meta = dict(found[0].meta)
        meta.pop('config_text', None)
        meta['skipped'] = [x for f in found for x in f.meta.get('skipped', ())]
        for name, method in product(found[0].arrays, args.method):
            scores = [
                {
                    'fold': fold,
                    **probe_features(
                        train, val, method=method, name=name, **options
                    ),
                }
                for fold, (train, val) in folds.items()
            ]
            result = {'source': source, 'array': name, 'method': method}
            results.append({**result, **summary(scores), 'meta': meta})
    return results


def show(results: Sequence[Mapping[str, Any]]) -> str:
    """A line for each feature and method, and what to compare it with."""
    rows = []
    for result in results:
        std, top5 = result['top1_std'], result['top5']
        low, high = result['top1_interval']
        spread = '' if std is None else f' +- {std:.1f}'
        rows.append(
            {
                **{key: result[key] for key in ('source', 'array', 'method')},
                'top-1': f'{result["top1"]:.1f}{spread}',
                '95 %': f'{low:.1f} to {high:.1f}',
                'top-5': '' if top5 is None else f'{top5:.1f}',
                'folds': ' '.join(f'{f["top1"]:.1f}' for f in result['folds']),
            }
        )
    folds = results[0]['folds']
    table = tabulate(rows, 'keys', 'plain', disable_numparse=True)
    return (
        f'{table}\nchance {100 / folds[0]["classes"]:.1f} %, always the most '
        f'frequent training class {results[0]["majority"]:.1f} %\n'
        '95 %: interval for other samples, from '
        f'{sum(fold["val"] for fold in folds)} validation samples; +-: '
        'standard deviation over folds'
    )


@mistakes_told()
def main() -> None:
    """Probe; the exit status is 1 if files were left out."""
    args = parse_args()
    if args.out:
        check_file(args.out)
    results = evaluate(args)
    print(show(results))
    if args.out:
        write_json(results, args.out)
    if args.skip_bad and any(result['meta']['skipped'] for result in results):
        raise SystemExit(1)


if __name__ == '__main__':
    main()
