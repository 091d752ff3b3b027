"""Results of probes, for people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_HEAD = ('features', 'array', 'method', 'top-1', 'top-5', 'folds')


def table(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each feature and method, after a heading.

    Args:
        results (Sequence[Mapping]): Each a summary with ``source``,
            ``array`` and ``method``.

    Returns:
        list[str]: Lines with columns of one width.
    """
    rows = [_HEAD, *map(_row, results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ['  '.join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _row(result: Mapping[str, Any]) -> tuple[str, ...]:
    std, top5 = result['top1_std'], result['top5']
    return (
        result['source'],
        result['array'],
        result['method'],
        f'{result["top1"]:.1f}' + ('' if std is None else f' +- {std:.1f}'),
        '' if top5 is None else f'{top5:.1f}',
        ' '.join(f'{fold["top1"]:.1f}' for fold in result['folds']),
    )


def remarks(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What is needed to read the table.

    Args:
        results (Sequence[Mapping]): As of :func:`table`; the first one's
            folds and classes stand for all.

    Yields:
        str: A line.
    """
    first = results[0]
    chance = 100 / first['folds'][0]['classes']
    yield (
        f'chance {chance:.1f} %, always the most frequent training class '
        f'{first["majority"]:.1f} %'
    )
    samples = sum(fold['val'] for fold in first['folds'])
    yield (
        f'{samples} validation samples: standard error up to '
        f'{50 / math.sqrt(samples):.1f} points'
        + ('; +- is the spread of the folds' if first['top1_std'] else '')
    )
    chosen = [fold['settings'] for each in results for fold in each['folds']]
    ks = sorted({each['k'] for each in chosen if 'k' in each})
    if ks:
        yield f'k-NN: k = {", ".join(map(str, ks))}'
    stopped = sum(not each.get('converged', True) for each in chosen)
    if stopped:
        yield f'{stopped} logistic regressions did not converge'
