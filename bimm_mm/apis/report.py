"""A page about a run, or about several beside each other.

A run is a folder of ``bimm pretrain``, ``bimm finetune`` or
``tools/train.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bimm_mm.apis.curves import (
    Panel,
    Series,
    curve_svg,
    loss_panels,
    read_scalars,
)
from bimm_mm.apis.page import Page, Picture, Section, data_uri, write_page
from bimm_mm.utils.files import read_json, show_any_name

_DEPTH = 4  # folders below the one given in which runs are looked for
_MOST_BYTES = 30_000_000  # of pictures in a page
_VENTRAL = 'ventral'  # stage 1 of BIMM, in the folder of stage 2
# In the work directory: files that a training left out, with reasons.
_SKIPPED = ('undecodable.txt', 'fatal_files.txt')


@dataclass(frozen=True)
class Run:
    """What a run left behind: numbers by step and name, and how it began."""

    folder: Path
    about: Mapping[str, Any]
    series: Mapping[str, Series]
    starts: Sequence[Mapping[str, Any]]  # every provenance.json

    @property
    def results(self) -> dict[str, float]:
        """The last loss of training and the last value of every metric."""
        last = {
            name: values[max(values)]
            for name, values in self.series.items()
            if name == 'loss' or '/' in name
        }
        return {n: x for n, x in last.items() if not n.endswith('mse')}

    @property
    def start(self) -> Mapping[str, Any]:
        """How it began last."""
        return self.starts[-1] if self.starts else {}

    @property
    def facts(self) -> dict[str, Any]:
        """What the run is, in a few words."""
        times = self.series.get('time', {}).values()
        named = [(self.about, key) for key in ('method', 'size', 'data')]
        named += [(self.start, x) for x in ('samples', 'machine', 'revision')]
        facts = {
            'steps': max(self.series['loss']),
            'epochs': max(self.series.get('epoch', {0: 0}).values()) or None,
            'seconds a step': sum(times) / len(times) if times else None,
            **{key: source.get(key) for source, key in named},
            'checkpoint': self.about.get('checkpoint'),
        }
        return {name: x for name, x in facts.items() if x is not None}


def write_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write a page about a run, or one that compares all below a folder.

    It is ``out`` or, by default, ``report.html`` in the folder.

    Raises:
        FileNotFoundError: If there is no run.
        ValueError: If the log of the only run is damaged. In a comparison
            such a run is listed with the reason.
        OSError: If the page cannot be written.
    """
    folder = Path(folder).expanduser()
    folders = list(_find_runs(folder, _DEPTH))
    if not folders:
        raise FileNotFoundError(
            f'{folder} has no run: give a folder that bimm pretrain, bimm '
            'finetune or tools/train.py wrote, or one with several of them'
        )
    if folders == [folder]:
        page = _run_page(folder)
    else:
        page = _comparison(folder, folders)
    return write_page(page, out or folder / 'report.html')


def _find_runs(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / 'run.json').is_file() or any(folder.glob('*/vis_data')):
        yield folder
    elif depth and folder.is_dir():
        for below in sorted(folder.iterdir()):
            if below.is_dir() and not below.name.startswith('.'):
                yield from _find_runs(below, depth - 1)


def _read_run(folder: Path) -> Run:
    about = folder / 'run.json'
    return Run(
        folder,
        about=read_json(about) if about.is_file() else {},
        series=read_scalars(folder),
        starts=[*map(read_json, sorted(folder.glob('*/provenance.json')))],
    )


def _run_page(folder: Path) -> Page:
    run = _read_run(folder)
    sections = _stage(run)
    if any((folder / _VENTRAL).glob('*/vis_data')):
        sections += _stage(_read_run(folder / _VENTRAL), 'Stage 1: ')
    pictures, left_out = _pictures(folder)
    if pictures or left_out:
        text = ['What areas predict, beside the truth.']
        if left_out:
            text.append(f'{left_out} files would make this page too large.')
        sections.insert(
            1, Section('Reconstructions', text=text, pictures=pictures)
        )
    title = folder.absolute().name
    return Page(title, sections, {**run.facts, 'loss': run.results['loss']})


def _stage(run: Run, prefix: str = '') -> list[Section]:
    """Curves, results, settings, what was left out and the command lines."""
    rows = [{'metric': n, 'last value': x} for n, x in run.results.items()]
    sections = [
        Section(f'{prefix}Losses', pictures=_charts(loss_panels(run.series))),
        Section(f'{prefix}Results', rows=rows),
    ]
    for name in _SKIPPED:
        path = run.folder / name
        if path.is_file():
            text = path.read_text('utf-8', 'replace').rstrip()
            title = f'{prefix}Files left out ({len(text.splitlines())})'
            sections.append(Section(title, code=text, folded=True))
    if config := run.start.get('config'):
        text = json.dumps(config, indent=2)
        title = f'{prefix}Settings'
        sections.append(Section(title, code=text, folded=True))
    commands = [x['command'] for x in run.starts if 'command' in x]
    text = '\n'.join(dict.fromkeys(commands))
    return [*sections, Section(f'{prefix}Commands', code=text)]


def _comparison(folder: Path, folders: Sequence[Path]) -> Page:
    runs: dict[str, Run] = {}
    unread = []
    for path in folders:
        name = show_any_name(str(path.relative_to(folder)))
        try:
            runs[name] = _read_run(path)
        except (OSError, ValueError) as error:
            unread.append(f'{name}: {error}')
    if not runs:
        raise ValueError(f'{folder} has no run that can be read: {unread[0]}')
    columns = dict.fromkeys(
        key for run in runs.values() for key in (*run.facts, *run.results)
    )
    rows = [
        {'run': name} | dict.fromkeys(columns) | {**run.facts, **run.results}
        for name, run in runs.items()
    ]
    panels: dict[str, Panel] = {}
    for name, run in runs.items():
        for title, panel in loss_panels(run.series).items():
            # Of each run one line: the validation, where there is one.
            label, values = list(panel.items())[-1 if len(panel) < 3 else 1]
            # Matplotlib hides labels that begin with an underscore.
            panels.setdefault(title, {})[f'{label} of {name}'] = values
    sections = [
        Section('Runs', rows=rows),
        Section('Losses', pictures=_charts(panels)),
    ]
    if unread:
        sections.append(Section(f'Not read ({len(unread)})', items=unread))
    return Page(f'Runs in {folder.absolute().name}', sections)


def _charts(panels: Mapping[str, Panel]) -> list[Picture]:
    return [
        Picture([data_uri(curve_svg(lines), '.svg')], [title])
        for title, lines in panels.items()
    ]


def _pictures(folder: Path) -> tuple[list[Picture], int]:
    """Pictures and videos in a run's folder, and how many are too much."""
    paths = sorted(
        path
        for pattern in ('*', '*/*', '*/*/*')
        for path in folder.glob(pattern)
        if path.suffix in ('.mp4', '.png')
        and path.is_file()
        and 'vis_data' not in path.parts
        and path.name != 'curves.png'  # drawn above
    )
    shown: list[Picture] = []
    size = 0
    for path in paths:
        more = path.stat().st_size
        if size + more <= _MOST_BYTES:
            size += more
            uri = data_uri(path.read_bytes(), path.suffix)
            name = str(path.relative_to(folder))
            shown.append(Picture([uri], [name]))
    return shown, len(paths) - len(shown)
