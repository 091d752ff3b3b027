"""The parts of a page, as Markdown and as HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto;
  max-width: 72em; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { padding: .25em .7em; text-align: left; vertical-align: top;
  border-bottom: 1px solid #ddd; }
th { border-bottom: 2px solid #888; }
td { overflow-wrap: anywhere; }
td.figure { text-align: right; white-space: nowrap; }
tr.strong td { background: #eef4fb; }
pre { background: #f5f5f5; padding: .7em; overflow-x: auto; }
h2 { margin-top: 2.2em; border-bottom: 1px solid #bbb; }
h3 { margin-top: 1.8em; }
"""


@dataclass(frozen=True)
class Heading:
    """A heading of level 1, 2 or 3."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Code:
    """Commands, one a line."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list."""

    texts: Sequence[str]


@dataclass(frozen=True)
class Grid:
    """A table.

    Args:
        head (Sequence[str]): Headings of the columns.
        rows (Sequence[Sequence[str]]): Cells.
        figures (Sequence[int]): Columns to set flush right. Defaults to ().
        strong (Sequence[int]): Rows to bring forward. Defaults to ().
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Sequence[int] = ()
    strong: Sequence[int] = ()


Block = Heading | Paragraph | Code | Items | Grid


def to_markdown(blocks: Sequence[Block]) -> str:
    """The page as GitHub's Markdown."""
    return (
        '\n\n'.join(_MARKDOWN[type(block)](block) for block in blocks) + '\n'
    )


def to_html(blocks: Sequence[Block], title: str) -> str:
    """The page as one HTML file that needs no other."""
    body = '\n'.join(_HTML[type(block)](block) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f'<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n'
        f'</head>\n<body>\n{body}\n</body>\n</html>\n'
    )


def _plain(text: str) -> str:
    """Text that Markdown leaves as it is, inside a table as well."""
    for mark in '\\|*<`[':
        text = text.replace(mark, f'\\{mark}')
    # Inside a word an underscore has no meaning.
    text = re.sub(r'\b_|_\b', r'\\_', text)
    return ' '.join(text.split())


def _grid_markdown(grid: Grid) -> str:
    rule = [
        '---:' if index in grid.figures else '---'
        for index in range(len(grid.head))
    ]
    lines = [list(map(_plain, grid.head)), rule]
    for index, row in enumerate(grid.rows):
        cells = [_plain(cell) for cell in row]
        if index in grid.strong:
            cells = [f'**{cell}**' if cell else '' for cell in cells]
        lines.append(cells)
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _grid_html(grid: Grid) -> str:
    head = ''.join(f'<th>{html.escape(cell)}</th>' for cell in grid.head)
    lines = [f'<table>\n<thead><tr>{head}</tr></thead>\n<tbody>']
    for number, row in enumerate(grid.rows):
        cells = ''.join(
            f'<td{" class=figure" if column in grid.figures else ""}>'
            f'{html.escape(cell)}</td>'
            for column, cell in enumerate(row)
        )
        mark = ' class=strong' if number in grid.strong else ''
        lines.append(f'<tr{mark}>{cells}</tr>')
    return '\n'.join([*lines, '</tbody>\n</table>'])


def _items_html(items: Items) -> str:
    lines = [f'<li>{html.escape(text)}</li>' for text in items.texts]
    return '\n'.join(['<ul>', *lines, '</ul>'])


_MARKDOWN: dict[type, Callable[..., str]] = {
    Heading: lambda block: f'{"#" * block.level} {_plain(block.text)}',
    Paragraph: lambda block: _plain(block.text),
    Code: lambda block: f'```bash\n{block.text}\n```',
    Items: lambda block: '\n'.join(f'- {_plain(t)}' for t in block.texts),
    Grid: _grid_markdown,
}
_HTML: dict[type, Callable[..., str]] = {
    Heading: lambda b: f'<h{b.level}>{html.escape(b.text)}</h{b.level}>',
    Paragraph: lambda block: f'<p>{html.escape(block.text)}</p>',
    Code: lambda block: f'<pre>{html.escape(block.text)}</pre>',
    Items: _items_html,
    Grid: _grid_html,
}
