"""Tables and figures as a reader of the page sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from studies.mini.comparisons import Comparison
from studies.mini.paired import Difference
from studies.mini.scores import Cell

NOT_RUN = 'not run'


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table.

    Args:
        head (Sequence[str]): Headings of the columns.
        rows (Sequence[Sequence[str]]): As many cells each.

    Returns:
        str: GitHub's Markdown.
    """
    rule = ['---'] * len(head)
    lines = [
        [' '.join(cell.replace('|', '\\|').split()) for cell in row]
        for row in (head, *rows)
    ]
    return '\n'.join(
        f'| {" | ".join(line)} |' for line in (lines[0], rule, *lines[1:])
    )


def percent(cell: Cell | None) -> str:
    """Such as ``'61.2 ± 1.3 (15)'``."""
    if cell is None:
        return NOT_RUN
    spread = '' if cell.deviation is None else f' ± {cell.deviation:.1f}'
    return f'{cell.mean:.1f}{spread} ({cell.runs})'


def interval(comparison: Comparison) -> str:
    """Such as ``'+3.1 [+0.4, +5.8] (15)'``."""
    difference = comparison.difference
    if difference is None:
        return NOT_RUN
    told = 'no interval' if difference.low is None else ends(difference)
    return f'{difference.mean:+.1f} [{told}] ({difference.pairs})'


def ends(difference: Difference) -> str:
    """Both ends of an interval that is there."""
    assert difference.low is not None and difference.high is not None
    return f'{difference.low:+.1f}, {difference.high:+.1f}'


def spread(values: Sequence[float | None]) -> str:
    """One figure, or from the least to the greatest.

    Args:
        values (Sequence[float | None]): Of several runs; None was not
            measured.

    Returns:
        str: Such as ``'412'`` or ``'412 to 430'``.
    """
    told = [v for v in values if v is not None and math.isfinite(v)]
    if not told:
        return 'not measured' if values else NOT_RUN
    low, high = figure(min(told)), figure(max(told))
    return low if low == high else f'{low} to {high}'


def figure(value: float | None) -> str:
    """Three significant digits; counts as they are; ``'-'`` for None."""
    if value is None or not math.isfinite(value):
        return '-'
    if value == 0 or isinstance(value, int):
        return str(int(value))
    places = 2 - math.floor(math.log10(abs(value)))
    return f'{value:.{max(places, 0)}f}'
