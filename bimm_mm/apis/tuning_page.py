"""The page of ``bimm tuning``: heat maps, a table, curves and the stimuli."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from bimm_mm.apis.curves import draw_svg
from bimm_mm.apis.page import Page, Picture, Section, data_uri
from bimm_mm.stimuli import FAMILIES, contact_sheet
from bimm_mm.utils.files import write_bytes

Result = Mapping[str, Any]  # what bimm_mm.apis.tuning.tuning returns
OTHERS = {'random': 'rand.', 'pixels': 'pix.', 'motion energy': 'mot.'}
_HOW = (
    'A linear model (ridge regression on the mean and the standard deviation '
    'over the tokens of a block) reads each property from stimuli that share '
    'no value of position, phase, contrast and so on with those that it was '
    'fitted to. Numbers are percent: right answers for classes, explained '
    'variance (R2) for angles and numbers. Colors go from chance to 100 %. A '
    'number in parentheses is not above chance: its 95 % interval reaches '
    'down to that, or to what the same readout makes of shuffled labels.',
    'A frame marks the block behind which the area is decoded that the paper '
    'names for the property. On the right: the best block of the same encoder '
    'with random weights, pixels pooled as the tokens are, and energies of '
    'motion filters. What they reach as well was not learned.',
)
_SCORES = (
    'Percent, of the best block and, if there is one, of that behind which '
    'the area is decoded. The best is the best by these very numbers, which '
    'flatters it a little; that of random weights is chosen in the same way.'
)
_DIFFERENCES = (
    'Percentage points, encoder minus what stands under "than", with 95 % '
    'intervals, by a bootstrap over test stimuli that are the same for both: '
    'of the block behind which the area is decoded, where one of them has it, '
    'and of the best blocks of both, whose numbers are given. Intervals are '
    'not corrected for the number of rows.'
)
_CHANNELS = (
    'Mean response to test stimuli, in standard deviations, of the six '
    'channels that vary most with the angle in the stimuli of the fit, out of '
    'the block from which the angle is read best, if it is read at all. A '
    'response is the mean or the deviation of a channel over tokens. '
    'Selectivity, in the legend, is the share of the variance that the angle '
    'predicts: 1 if nothing else matters to the channel, 0 or less if it is '
    'not tuned.'
)
_LIKENESS = (
    'Linear CKA of the pooled tokens of two blocks, on test stimuli that all '
    'encoders saw: 1 where one is a rotation and a scale of the other.'
)


def tuning_page(result: Result) -> Page:
    """Show what was measured; nothing is computed but means and pictures."""
    encoders, stimuli = result['encoders'], result['stimuli']
    sources = {
        name: about['source'] or f'{name} in memory'
        for name, about in encoders.items()
    }
    maps = [
        Picture([data_uri(svg, '.svg')], [f'{name}: {title}'], wide=True)
        for name in encoders
        for title, svg in _maps(result, name).items()
    ]
    text = [*_HOW, *result['notes']]
    sections = [
        Section('What can be read out of which block', text, pictures=maps),
        score_section(result),
        _difference_section(result),
        Section(
            'Tuning of single channels',
            [_CHANNELS],
            pictures=list(_curves(result)),
        ),
        Section(
            'How alike blocks are',
            [_LIKENESS],
            pictures=list(_likeness(result['cka'])),
        ),
        Section('Stimuli', pictures=list(_examples(result))),
    ]
    counts = '{train} to fit, {test} to test'.format(**stimuli)
    facts = {
        **sources,
        'input': '{frames} frames, {size} pixels'.format(**stimuli),
        'stimuli of a property': counts,
        'seed': result['seed'],
        'bimm_mm': result['version'],
    }
    names = {'/'.join(Path(path).parts[-2:]): 0 for path in sources.values()}
    return Page(f'Tuning of {", ".join(names)}', sections, facts)


def write_maps(result: Result, folder: str | Path) -> None:
    """Write the heat maps of every encoder as ``map_...`` and ``gain_...``.

    In SVG, for a light or a dark ground. Of names of encoders letters, digits,
    dots and underscores are kept.
    """
    files: set[str] = set()
    for name in result['encoders']:
        file = re.sub(r'[^\w.]', '-', name)
        while file in files:
            file += '-'
        files.add(file)
        for title, svg in _maps(result, name).items():
            kind = 'gain' if 'more than' in title else 'map'
            write_bytes(svg, Path(folder, f'{kind}_{file}.svg'))


def score_section(result: Result) -> Section:
    """A table with a row for each encoder and property."""
    rows = []
    order = {name: place for place, name in enumerate(result['encoders'])}
    cells = _cells(result).sort_values(
        'encoder', key=lambda names: names.map(order), kind='stable'
    )
    groups = cells.groupby(['encoder', 'property'], sort=False)
    for (name, item), part in groups:
        best = _best(part).set_index('features')
        top, what = best.loc['trained'], result['properties'][item]
        block = result['encoders'][name]['areas'].get(what['area'])
        there = part[
            (part['features'] == 'trained') & (part['block'] == block)
        ]
        low, high = (round(100 * top[end]) for end in ('low', 'high'))
        several = {'encoder': name} if len(result['encoders']) > 1 else {}
        rows.append(
            {
                **several,
                'property': item,
                'area': what['area'],
                'score': top['percent'],
                '95 %': f'{low} to {high}',
                'block': int(top['block']),
                'at area': there['percent'].max(),  # NaN without one
                **best['percent'].reindex(OTHERS).to_dict(),
                'shuffled': round(100 * top['chance']),
            }
        )
    if np.isnan([row['at area'] for row in rows]).all():
        rows = [{k: v for k, v in x.items() if k != 'at area'} for x in rows]
    return Section('Scores', [_SCORES], rows)


def _difference_section(result: Result) -> Section:
    """A table with a row for each pair and property."""
    rows: dict[tuple, dict[str, Any]] = {}
    for found in result['differences']:
        key = tuple(found[name] for name in ('encoder', 'than', 'property'))
        ends = '{:+d} ({:+d} to {:+d})'.format(
            *(round(100 * found[x]) for x in ('difference', 'low', 'high'))
        )
        row = rows.setdefault(
            key,
            {
                **dict(zip(('encoder', 'than', 'property'), key, strict=True)),
                **dict.fromkeys(('at area', 'blocks', 'best'), ''),
            },
        )
        if found['at'] == 'best':
            row['blocks'] = '{} and {}'.format(*found['blocks'])
            row['best'] = ends
        else:
            row['at area'] = ends
    return Section('Differences', [_DIFFERENCES], list(rows.values()))


def _cells(result: Result) -> pd.DataFrame:
    """Scores also in percent, as text and shade, and if ``above`` chance."""
    cells = pd.DataFrame(result['scores'])
    chance = cells['property'].map(
        {name: x['nominal_chance'] for name, x in result['properties'].items()}
    )
    cells['shade'] = (cells['score'] - chance) / (1 - chance)
    cells['percent'] = (100 * cells['score']).round().astype(int)
    text = cells['percent'].astype(str)
    least = (100 * np.maximum(cells['chance'], chance)).round()
    cells['above'] = (100 * cells['low']).round() > least
    return cells.assign(text=text.where(cells['above'], '(' + text + ')'))


def _best(cells: pd.DataFrame) -> pd.DataFrame:
    """The best block of every property and kind of features."""
    groups = cells.groupby(['property', 'features'], sort=False)
    return cells.loc[groups['score'].idxmax()]


def _maps(result: Result, name: str) -> dict[str, bytes]:
    """Scores of every block, and what training added to them, by title."""
    about, cells = result['encoders'][name], _cells(result)
    cells = cells[cells['encoder'] == name]
    if cells.empty:  # an encoder of images, and motion alone
        return {}
    others = _best(cells[cells['features'].isin(OTHERS)])
    trained, random = (
        cells[cells['features'] == kind].assign(column=lambda x: x['block'])
        for kind in ('trained', 'random')
    )
    every = pd.concat([trained, others.assign(column=others['features'])])
    blocks = range(1, about['depth'] + 1)
    heads: dict[Any, str] = {block: str(block) for block in blocks}
    for area, block in about['areas'].items():
        heads[block] += f'\n{area}'
    heads |= {'': '', **OTHERS}
    areas = {x: result['properties'][x]['area'] for x in cells['property']}
    rows = {item: f'{item} · {area}' for item, area in areas.items()}

    def grid(table: pd.DataFrame, values: str, columns: list) -> pd.DataFrame:
        wide = table.pivot(index='property', columns='column', values=values)
        return wide.reindex(index=list(rows), columns=columns)

    gain = grid(trained, 'score', [*blocks]) - grid(random, 'score', [*blocks])
    columns = [*blocks, '', *OTHERS]
    size = (2.4 + 0.42 * len(columns), 1 + 0.3 * len(rows))
    maps = {}
    for title, values, texts in (
        (
            'percent read out after each block',
            grid(every, 'shade', columns),
            grid(every, 'text', columns).fillna(''),
        ),
        (
            'percentage points more than from the same block with random '
            'weights',
            gain,
            gain.map(lambda share: f'{round(100 * share):+d}'),
        ),
    ):
        draw = partial(
            _draw_map,
            values=values.to_numpy(float),
            texts=texts.to_numpy(),
            signed=values is gain,
            rows=list(rows.values()),
            columns=[heads[x] for x in values],
            framed=[about['areas'].get(area) for area in areas.values()],
        )
        maps[title] = draw_svg(draw, size)
    return maps


def _draw_map(
    axis: Axes,
    *,
    values: np.ndarray,
    texts: np.ndarray,
    signed: bool,
    rows: Sequence[str],
    columns: Sequence[str],
    framed: Sequence[int | None],
) -> None:
    """Colored cells with texts in them, and a frame around one in each row."""
    norm = Normalize(-1 if signed else 0, 1, clip=True)
    colors = matplotlib.colormaps['RdBu_r' if signed else 'viridis']
    axis.imshow(values, norm=norm, cmap=colors, aspect='auto')
    for (y, x), value in np.ndenumerate(values):
        light = np.dot(colors(norm(value))[:3], (0.3, 0.6, 0.1)) > 0.5
        ink = {'color': 'black' if light else 'white', 'size': 7}
        axis.text(x, y, texts[y, x], ink, ha='center', va='center')
    for y, block in enumerate(framed):
        if block is not None:
            place = (block - 1.5, y - 0.5)
            frame = Rectangle(place, 1, 1, fill=False, color='red', lw=1.5)
            axis.add_patch(frame)
    axis.set_yticks(range(len(rows)), rows)
    axis.set_xticks(range(len(columns)), columns)
    axis.set_xlabel('after block', loc='left')
    axis.tick_params(length=0, labelsize=8)
    axis.spines[:].set_visible(False)


def _curves(result: Result) -> Iterator[Picture]:
    """The most selective channels, of the block that tells an angle best."""
    cells = _cells(result)
    told = cells[(cells['features'] == 'trained') & cells['above']]
    for name, part in told.groupby('encoder', sort=False):
        for best in _best(part).to_dict('records'):
            where = (name, best['property'], best['block'])
            channels = [
                row
                for row in result['channels']
                if (row['encoder'], row['property'], row['block']) == where
            ]
            if channels:
                svg = draw_svg(partial(_draw_curves, channels))
                title = f'{name}, {where[1]}, after block {where[2]:.0f}'
                yield Picture([data_uri(svg, '.svg')], [title])


def _draw_curves(channels: Sequence[Mapping[str, Any]], axis: Axes) -> None:
    turn = 180 if 'orientation' in channels[0]['property'] else 360
    bins = len(channels[0]['curve'])
    for row in channels:
        axis.plot(
            (np.arange(bins) + 0.5) * turn / bins,
            row['curve'],
            '.-',
            label='{channel}, {of}: {selectivity:.2f}'.format(**row),
        )
    axis.set(xlabel='degrees', ylabel='response')
    axis.figure.legend(fontsize=7, frameon=False, loc='outside right')


def _likeness(cka: Mapping[str, Any]) -> Iterator[Picture]:
    """Of all blocks with each other, where encoders saw the same stimuli."""
    names = cka['names']

    def draw(axis: Axes) -> None:
        image = axis.imshow(cka['values'], vmin=0, vmax=1)
        axis.figure.colorbar(image, ax=axis)
        axis.set_yticks(range(len(names)), names)
        axis.set_xticks(range(len(names)), names, rotation=90)
        axis.tick_params(labelsize=7)

    if names:
        side = 1.5 + 0.15 * len(names)
        svg = data_uri(draw_svg(draw, (side + 1, side)), '.svg')
        yield Picture([svg], ['CKA'], wide=True)


def _examples(result: Result) -> Iterator[Picture]:
    """Stimuli of every family that was shown."""
    shown = {what['family'] for what in result['properties'].values()}
    for family in FAMILIES:
        if family in shown:
            sheet = cv2.cvtColor(contact_sheet(family), cv2.COLOR_RGB2BGR)
            content = cv2.imencode('.png', sheet)[1].tobytes()
            yield Picture([data_uri(content, '.png')], [family])
