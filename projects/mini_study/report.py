"""Tables, paired intervals and curves of everything that was run.

Several folders, such as those of several machines, are read as one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bimm_mm.apis.page import Chart, Line, Page, Section, write_page
from bimm_mm.utils.files import write_text

from .build_configs import METHODS
from .study import PRETRAININGS, RESULT, STUDY, check_same

CONFIDENCE = 0.95
# What all other methods are compared with.
BASELINES = ('scratch', 'videomae', 'bimm')
TRIVIAL = ('middle-frame', 'motion-energy', 'most frequent class')
KEY = ['method', 'seed', 'fold', 'kind']


def read_results(homes: Iterable[Path]) -> list[dict[str, Any]]:
    """What every finished run gave, from folders of the same study.

    Of a run that several folders have, the first one's counts.
    """
    results: dict[tuple, dict[str, Any]] = {}
    known: dict[str, Any] = {}
    for home in homes:
        study = json.loads((home / STUDY).read_text())
        known = known or study
        check_same(study, known, str(home))
        for path in sorted(home.glob(f'*/*/*/{RESULT}')):
            gave = json.loads(path.read_text())
            results.setdefault(tuple(gave[key] for key in KEY), gave)
    if not results:
        raise FileNotFoundError('no run is finished there: run the study')
    return list(results.values())


def scores_of(results: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row per score: ``top1`` of a ``method`` in percent.

    ``score`` is ``'finetune'``, ``'linear'`` or ``'knn'``, ``ratio`` is test
    clips over training clips.
    """
    run = ['seed', 'fold', 'train', 'test']
    scores = pd.json_normalize(list(results), 'scores', run)
    if scores.empty:
        raise FileNotFoundError('no run with a score is finished there')
    return scores.assign(
        ratio=(scores['test'] / scores['train']).astype(float)
    )


def accuracy_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of the mean over folds ± deviation over seeds (runs)."""
    groups = ['score', 'method']
    seeds = scores.groupby([*groups, 'seed'])['top1'].mean().groupby(groups)
    runs = scores.groupby(groups).size()
    cells = seeds.mean().map('{:.1f}'.format)
    spread = seeds.std().map(' ± {:.1f}'.format, na_action='ignore')
    cells += spread.fillna('') + runs.map(' ({})'.format)
    table = cells.unstack('score').fillna('-')
    return table.loc[ordered(table.index)]


def interval(
    differences: Sequence[float], test_to_train: float
) -> tuple[float, float]:
    """Corrected repeated k-fold t interval of a mean of paired differences.

    Nadeau and Bengio, Inference for the Generalization Error, Machine
    Learning 52, 2003; for repeated k-fold cross-validation: Bouckaert and
    Frank, PAKDD 2004.

    Args:
        differences: One per seed and fold.
        test_to_train: Test clips over training clips of a fold, which widens
            the interval, since training sets of different folds overlap.

    Returns:
        Its ends; NaN for fewer than two differences, and where all are equal:
        no spread was seen, which does not mean that there is none.
    """
    values = np.asarray(differences, dtype=float)
    if len(values) < 2 or np.ptp(values) == 0:
        return np.nan, np.nan
    scale = values.std(ddof=1) * np.sqrt(1 / len(values) + test_to_train)
    low, high = stats.t.interval(
        CONFIDENCE, len(values) - 1, loc=values.mean(), scale=scale
    )
    return float(low), float(high)


def difference_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Paired differences of methods, in percentage points.

    The mean over the ``pairs`` of seed and fold that both have, its interval
    from ``low`` to ``high`` or None, and how many pairs only one has.
    """
    rows = []
    for score, part in scores.groupby('score'):
        wide = part.pivot(
            index=['seed', 'fold'], columns='method', values='top1'
        )
        for first, second in compared(wide.columns):
            both = (wide[first] - wide[second]).dropna()
            either = wide[[first, second]].notna().any(axis=1).sum()
            low, high = interval(both.tolist(), part['ratio'].mean())
            rows.append(
                {
                    'score': score,
                    'methods': f'{first} - {second}',
                    'difference': both.mean(),
                    'low': low,
                    'high': high,
                    'pairs': len(both),
                    'incomplete': int(either) - len(both),
                }
            )
    table = pd.DataFrame(rows)
    return table.astype(object).where(table.notna(), None)


def compared(names: Iterable[str]) -> list[tuple[str, str]]:
    """What is subtracted from what: each pair of methods once."""
    known = [name for name in ordered(names) if name not in TRIVIAL]
    pairs: list[tuple[str, str]] = []
    for second in BASELINES:
        for first in known if second in known else ():
            if first != second and (second, first) not in pairs:
                pairs.append((first, second))
    return pairs


def ordered(names: Iterable[str]) -> list[str]:
    """As in ``METHODS``, then others by their names."""
    known = list(METHODS)
    return sorted(
        names, key=lambda n: (known.index(n) if n in known else len(known), n)
    )


def cost_table(results: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Steps and seconds of every kind of training, means over runs."""
    columns = ['method', 'kind', 'steps', 'seconds_per_step']
    trained = pd.DataFrame([run for run in results if 'steps' in run])
    trained = trained.reindex(columns=columns)  # there may be none yet
    trained['seconds'] = trained['steps'] * trained['seconds_per_step']
    groups = trained.groupby(['method', 'kind'])
    table = groups[['steps', 'seconds_per_step', 'seconds']].mean()
    return table.assign(runs=groups.size()).reset_index()


def draw_curves(results: Sequence[dict[str, Any]]) -> list[Chart]:
    """Learning curves, a line per run.

    A panel per pretraining has each area's loss on training clips relative to
    predicting the target's mean; one has the training losses of finetunings.
    """
    panels: dict[str, list[tuple[str, dict[str, float]]]] = {}
    for run in results:
        if run['kind'] in PRETRAININGS:
            panel = panels.setdefault(f'{run["method"]}: {run["kind"]}', [])
            panel += [(n, c) for n, c in run['curves'].items() if n != 'loss']
        elif run['kind'] == 'finetune':
            panel = panels.setdefault('finetuning', [])
            panel.append((run['method'], run['curves']['loss']))
    charts = []
    for title, curves in panels.items():
        names = list(dict.fromkeys(name for name, _ in curves))
        lines: list[Line] = []
        for name, values in curves:
            steps = {int(step): value for step, value in values.items()}
            named = name not in [line.name for line in lines]
            color = names.index(name)
            lines.append(Line(name if named else '', steps, color))
        charts.append(Chart(title, lines))
    return charts


def write_report(homes: Sequence[Path], out: Path) -> Path:
    """Write ``report.html`` and ``scores.csv``."""
    results = read_results(homes)
    scores = scores_of(results)
    write_text(scores.to_csv(index=False), out / 'scores.csv')
    facts = {
        key: ', '.join(sorted({run[key] for run in results}))
        for key in ('device', 'revision')
    }
    sections = [
        Section(
            'Accuracy',
            text=[
                'In percent: mean over seeds of the mean over folds ± '
                'deviation over seeds (runs).'
            ],
            rows=accuracy_table(scores).reset_index().to_dict('records'),
        ),
        Section(
            'Paired differences',
            text=[
                'In percentage points, with the corrected '
                f'{CONFIDENCE:.0%} interval.'
            ],
            rows=difference_table(scores).to_dict('records'),
        ),
        Section(
            'Training',
            text=['Means over runs.'],
            rows=cost_table(results).to_dict('records'),
        ),
        Section('Learning curves', charts=draw_curves(results)),
    ]
    page = Page('Mini study', sections, facts)
    return write_page(page, out / 'report.html')


def main(argv: Sequence[str] | None = None) -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(
        prog='python -m projects.mini_study.report', description=__doc__
    )
    parser.add_argument('homes', type=Path, nargs='+', help='as --home')
    parser.add_argument('--out', type=Path, help='default: the first home')
    args = parser.parse_args(argv)
    print(write_report(args.homes, args.out or args.homes[0]))


if __name__ == '__main__':
    try:
        main()
    except (FileNotFoundError, ValueError) as problem:
        sys.exit(f'mini_study: {problem}')
