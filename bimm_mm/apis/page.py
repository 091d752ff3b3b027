"""Pages that are one file: figures, curves, tables, pictures and commands.

Everything is in the file itself, and all text of users is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from rich.console import Console
from rich.table import Table

from bimm_mm.utils.files import show_any_name, write_text

_KINDS = {
    '.png': 'image/png',
    '.svg': 'image/svg+xml',
    '.mp4': 'video/mp4',
}


@dataclass(frozen=True)
class Picture:
    """Images or a video side by side, as data URIs, with lines below.

    ``marks`` colors lines of the caption: ``'right'`` or ``'wrong'``; what is
    ``wide`` has the whole width of the page.
    """

    uris: Sequence[str]
    caption: Sequence[str] = ('',)
    marks: Mapping[str, str] = field(default_factory=dict)
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """A part of a page, of which each is shown that is there.

    ``text`` are paragraphs, ``rows`` a table that can be sorted, with the same
    columns in each row, ``items`` a list, and ``code`` lines in a box, which
    is closed at first if it is ``folded``.
    """

    title: str
    text: Sequence[str] = ()
    rows: Sequence[Mapping[str, Any]] = ()
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
            # Off a terminal, too, a line is as long as it must be.
            wide = console.options.update(max_width=1000)
            table.width = console.measure(table, options=wide).maximum
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
