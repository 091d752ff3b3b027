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
from matplotlib.figure import Figure
from scipy import stats

from .methods import METHODS, OPTIONAL, REFERENCE
from .plan import PRETRAININGS, RESULT, STUDY, check_same

CONFIDENCE = 0.95
BASELINES = (REFERENCE, 'scratch')
# BIMM is compared with its own parts, too.
PARTS = (('bimm', 'bimm_dorsal'), ('bimm', 'bimm_unshared'))
GIVEN = ['steps', 'seconds_per_step', 'curves', 'scores', 'train', 'test']
KEY = ['budget', 'method', 'seed', 'fold', 'kind']


def read_results(homes: Iterable[Path]) -> pd.DataFrame:
    """One row per finished run, as ``result.json`` says.

    Args:
        homes: Folders of the study; of a run that several have, the first
            one's is taken.

    Raises:
        FileNotFoundError: If nothing was run there.
        ValueError: If the folders are of different studies.
    """
    rows: list[dict[str, Any]] = []
    known: dict[str, Any] = {}
    for home in homes:
        study = json.loads((home / STUDY).read_text())
        known = known or study
        check_same(study, known, str(home))
        paths = sorted(home.glob(f'*/*/*/*/{RESULT}'))
        rows += [json.loads(path.read_text()) for path in paths]
    if not rows:
        raise FileNotFoundError('no run is finished there: run the study')
    table = pd.DataFrame(rows).drop_duplicates(KEY, ignore_index=True)
    # Absent until a run of their kind is finished.
    return table.reindex(columns=[*dict.fromkeys([*table, *GIVEN])])


def scores_of(results: pd.DataFrame) -> pd.DataFrame:
    """One row per score.

    Methods without pretraining, and VideoMAE, whose time is what the budget
    ``'time'`` gives to all, have the same scores in both budgets.

    Args:
        results: From :func:`read_results`.

    Returns:
        ``budget``, ``method``, ``seed``, ``fold``, ``score`` (``'finetune'``,
        ``'linear'`` or ``'knn'``), ``top1`` in percent, and ``ratio``, test
        clips over training clips.
    """
    rows = []
    timed = 'time' in set(results.budget)
    for run in results[~results.kind.isin(PRETRAININGS)].to_dict('records'):
        for score, top1 in run['scores'].items():
            row = {key: run[key] for key in KEY[:-1]} | {'score': score}
            if run['kind'] == 'trivial':
                row['method'], row['score'] = score.split(':')
            row |= {'top1': top1, 'ratio': run['test'] / run['train']}
            rows.append(row)
            same = run['kind'] == 'trivial' or run['method'] in BASELINES
            if same and timed:
                rows.append(row | {'budget': 'time'})
    return pd.DataFrame(rows)


def accuracy_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of the mean over folds ± deviation over seeds (runs).

    Args:
        scores: From :func:`scores_of`.

    Returns:
        A row per method, a column per budget and score.
    """
    groups = ['budget', 'score', 'method']
    seeds = scores.groupby([*groups, 'seed']).top1.mean().groupby(groups)
    runs = scores.groupby(groups).size()
    cells = seeds.mean().map('{:.1f}'.format)
    spread = seeds.std().map(' ± {:.1f}'.format, na_action='ignore')
    cells += spread.fillna('') + runs.map(' ({})'.format)
    table = cells.unstack(['budget', 'score']).fillna('-')
    table.columns = [f'{score}, same {budget}' for budget, score in table]
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

    Args:
        scores: From :func:`scores_of`.

    Returns:
        A row per budget, score and pair of methods: ``difference``, the mean
        over the ``pairs`` of seed and fold that both have, its interval from
        ``low`` to ``high`` or None, and how many pairs only one has.
    """
    rows = []
    for (budget, score), part in scores.groupby(['budget', 'score']):
        wide = part.pivot(
            index=['seed', 'fold'], columns='method', values='top1'
        )
        for first, second in compared(wide.columns):
            both = (wide[first] - wide[second]).dropna()
            either = wide[[first, second]].notna().any(axis=1).sum()
            low, high = interval(both.tolist(), part.ratio.mean())
            rows.append(
                {
                    'budget': budget,
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
    """What is subtracted from what, of the methods that were run."""
    known = [name for name in ordered(names) if name in METHODS | OPTIONAL]
    against = [(first, base) for base in BASELINES for first in known]
    parts = [*PARTS, *((name, 'bimm') for name in known if name in OPTIONAL)]
    return [
        (first, second)
        for first, second in (*against, *parts)
        if {first, second} <= {*known} and first not in (second, 'scratch')
    ]


def ordered(names: Iterable[str]) -> list[str]:
    """As in ``METHODS``, then others by their names."""
    known = list(METHODS)
    return sorted(
        names, key=lambda n: (known.index(n) if n in known else len(known), n)
    )


def cost_table(results: pd.DataFrame) -> pd.DataFrame:
    """Steps and seconds of every kind of training, means over runs."""
    trained = results[results.steps.notna()]
    trained = trained.assign(seconds=trained.steps * trained.seconds_per_step)
    groups = trained.groupby(['budget', 'method', 'kind'])
    table = groups[['steps', 'seconds_per_step', 'seconds']].mean()
    return table.assign(runs=groups.size()).reset_index()


def draw_curves(results: pd.DataFrame) -> Figure:
    """Learning curves, a line per run.

    Returns:
        A panel per pretraining, with each area's loss on training clips
        relative to predicting the target's mean, and one with the training
        losses of all finetunings.
    """
    trained = results[results.steps.notna()]
    before = trained[trained.kind.isin(PRETRAININGS)]
    panels: dict[str, list[tuple[str, dict[str, float]]]] = {}
    for run in before.itertuples():
        panel = panels.setdefault(
            f'{run.method}: {run.kind}, same {run.budget}', []
        )
        panel += [(n, c) for n, c in run.curves.items() if n != 'loss']
    tuned = trained[trained.kind == 'finetune'].itertuples()
    panels['finetuning'] = [(run.method, run.curves['loss']) for run in tuned]
    lines = -(-len(panels) // 3)
    figure = Figure(figsize=(13.5, 3.4 * lines), layout='constrained')
    axes = figure.subplots(lines, 3, squeeze=False).flatten()
    for axis, (title, curves) in zip(axes, panels.items(), strict=False):
        names = list(dict.fromkeys(name for name, _ in curves))
        for name, values in curves:
            color = f'C{names.index(name)}'
            steps = [int(step) for step in values]
            axis.plot(steps, [*values.values()], c=color, lw=1, alpha=0.6)
        for index, name in enumerate(names):
            axis.plot([], [], c=f'C{index}', label=name)
        axis.set(title=title, xlabel='step', ylabel='loss')
        axis.legend(fontsize=8)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    return figure


def write_report(homes: Sequence[Path], out: Path) -> Path:
    """Write ``report.md``, ``scores.csv`` and ``curves.png``.

    Args:
        homes: See :func:`read_results`.
        out: Folder to write to.

    Returns:
        Path of the page.
    """
    results = read_results(homes)
    scores = scores_of(results)
    out.mkdir(parents=True, exist_ok=True)
    scores.to_csv(out / 'scores.csv', index=False)
    draw_curves(results).savefig(out / 'curves.png', dpi=80)
    shared = [
        f'- {key}: {", ".join(map(str, results[key].unique()))}'
        for key in ('device', 'jobs', 'revision')
    ]
    page = [
        '# Mini study\n',
        *shared,
        '\nAccuracy in percent: mean over seeds of the mean over folds ± '
        'deviation over seeds (runs).\n',
        accuracy_table(scores).to_markdown(),
        f'\nPaired differences in percentage points, with the corrected '
        f'{CONFIDENCE:.0%} interval.\n',
        difference_table(scores).to_markdown(index=False, floatfmt='+.1f'),
        '\nTraining: means over runs.\n',
        cost_table(results).to_markdown(index=False, floatfmt='.3g'),
        '\n![Learning curves](curves.png)',
    ]
    path = out / 'report.md'
    path.write_text('\n'.join(page) + '\n', encoding='utf-8')
    return path


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
