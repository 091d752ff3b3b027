"""Pages that are one file: figures, curves, tables, pictures and commands.

Everything is in the file itself, and all text of users is escaped.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from rich.console import Console
from rich.table import Table

from bimm_mm.utils.files import show_any_name, write_text

_KINDS = {'.png': 'image/png', '.jpg': 'image/jpeg', '.mp4': 'video/mp4'}
# Of a chart, in units of its drawing.
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 392, 10, 210
_MOST_POINTS = 400  # of a line: more are not seen


@dataclass(frozen=True)
class Line:
    """A line of a chart: values by step; lines of one color are related."""

    name: str
    values: Mapping[int, float]
    color: int = 0
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """Lines over steps; numbers that are not finite are left out."""

    title: str
    lines: Sequence[Line]

    @property
    def _box(self) -> tuple[float, float, float, float]:
        points = [p for line in self.lines for p in _finite(line.values)]
        xs, ys = zip(*points, strict=True) if points else ((0, 1), (0, 1))
        # Neither axis may have no length.
        return (
            min(xs),
            max(*xs, min(xs) + 1),
            min(ys),
            max(ys) if max(ys) > min(ys) else min(ys) + 1,
        )

    def _place(self, x: float, y: float) -> tuple[float, float]:
        x0, x1, y0, y1 = self._box
        across = _LEFT + (x - x0) / (x1 - x0) * (_RIGHT - _LEFT)
        down = _BOTTOM - (y - y0) / (y1 - y0) * (_BOTTOM - _TOP)
        return round(across, 1), round(down, 1)

    def path(self, line: Line) -> str:
        """Return the line as SVG's path."""
        points = list(_finite(line.values))
        stride = -(-len(points) // _MOST_POINTS) or 1
        kept = [*points[::stride], *points[-1:]]
        places = [self._place(x, y) for x, y in kept]
        return 'M' + 'L'.join(f'{x} {y}' for x, y in places) if places else ''

    @property
    def x_ticks(self) -> list[tuple[float, str, str]]:
        """Places, labels and their alignments along x."""
        x0, x1, y0, _ = self._box
        ticks = ((x0, 'start'), ((x0 + x1) / 2, 'middle'), (x1, 'end'))
        return [(self._place(x, y0)[0], f'{x:.0f}', side) for x, side in ticks]

    @property
    def y_ticks(self) -> list[tuple[float, str]]:
        """Places and labels along y."""
        x0, _, y0, y1 = self._box
        values = [y0 + (y1 - y0) * share / 4 for share in range(5)]
        return [(self._place(x0, y)[1], f'{y:.3g}') for y in values]


def _finite(values: Mapping[int, float]) -> Iterable[tuple[int, float]]:
    return ((x, y) for x, y in sorted(values.items()) if math.isfinite(y))


@dataclass(frozen=True)
class Picture:
    """Images or a video side by side, as data URIs, with lines below.

    ``marks`` colors lines of the caption: ``'right'`` or ``'wrong'``.
    """

    uris: Sequence[str]
    caption: Sequence[str] = ('',)
    marks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A part of a page, of which each is shown that is there.

    Args:
        title: Its heading.
        text: Paragraphs.
        rows: A table that can be sorted: values by column, the same columns
            in each row.
        charts: Curves.
        pictures: Images and videos.
        items: A list.
        code: Lines in a box.
        folded: Whether that box is closed at first.
    """

    title: str
    text: Sequence[str] = ()
    rows: Sequence[Mapping[str, Any]] = ()
    charts: Sequence[Chart] = ()
    pictures: Sequence[Picture] = ()
    items: Sequence[str] = ()
    code: str = ''
    folded: bool = False


@dataclass(frozen=True)
class Page:
    """A page: a title, facts in boxes, and sections."""

    title: str
    sections: Sequence[Section]
    facts: Mapping[str, Any] = field(default_factory=dict)


def write_page(page: Page, path: str | Path) -> Path:
    """Write a page as one HTML file that loads nothing else.

    Raises:
        OSError: If it cannot be written.
    """
    write_text(render_page(page), path)
    return Path(path)


def render_page(page: Page) -> str:
    """Return a page's HTML."""
    return _template().render(page=page)


def print_sections(sections: Iterable[Section]) -> None:
    """Show titles, texts, tables and lists on the screen."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for section in sections:
        console.print(section.title, style='bold')
        for line in (*section.text, *section.items):
            console.print(show_any_name(line))
        if section.rows:
            table = Table(*section.rows[0], box=None)
            for row in section.rows:
                table.add_row(*map(_show, row.values()))
            console.print(table)


@cache
def _template() -> Any:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['show'] = _show
    environment.tests['numeric'] = _is_numeric
    source = Path(__file__).with_name('templates') / 'page.html'
    return environment.from_string(source.read_text('utf-8'))


def _show(value: Any) -> str:
    """Numbers with four digits; nothing for what is not there."""
    if value is None or value != value:
        return ''
    if isinstance(value, float):
        return f'{value:.4g}'
    return show_any_name(str(value))


def _is_numeric(value: Any) -> bool:
    try:
        float(_show(value))
    except ValueError:
        return False
    return True


def data_uri(content: bytes, suffix: str) -> str:
    """Return a picture or video, such as ``'.png'``, as a data URI."""
    text = base64.b64encode(content).decode()
    return f'data:{_KINDS[suffix]};base64,{text}'
