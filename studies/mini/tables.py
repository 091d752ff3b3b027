"""Tables of one size: accuracies, cost of pretraining, differences."""

from __future__ import annotations

from collections.abc import Sequence

from studies.mini.comparisons import Comparison
from studies.mini.markdown import NOT_RUN, interval, percent, spread, table
from studies.mini.methods import METHODS
from studies.mini.reading import Run
from studies.mini.scores import (
    FEATURES,
    SCORES,
    Cell,
    Setting,
    Study,
    summarise,
)

BUDGETS = {'clips': 'same clips', 'time': 'same time'}


def shown_methods(study: Study) -> list[str]:
    """Methods with a row: optional ones only if they were begun."""
    began = {run.unit.method for run in study.runs}
    return [
        name
        for name, method in METHODS.items()
        if not method.optional or name in began
    ]


def score_table(study: Study, size: str, pretrain_on: str) -> str:
    """Accuracy of every method, and of what needs no learning.

    Args:
        study (Study): All records.
        size (str): Of the encoder.
        pretrain_on (str): ``'train'`` or ``'all'``.

    Returns:
        str: Markdown; both budgets beside each other.
    """
    settings = [Setting(size, pretrain_on, budget) for budget in BUDGETS]
    rows = [
        [
            METHODS[name].title,
            *(
                percent(summarise(study.scores(name, setting, score)))
                for setting in settings
                for score in SCORES
            ),
        ]
        for name in shown_methods(study)
    ]
    rows.append(['random weights', *_random(study, settings[0])])
    for feature, title in FEATURES.items():
        cells = {
            score: summarise(study.trivial(feature, size, score))
            for score in ('linear', 'knn')
        }
        rows.append([title, *_once(cells)])
    most = study.majority(size)
    told = NOT_RUN if most is None else f'{most:.1f}'
    rows.append(['most frequent class', told, told, told, *(['same'] * 3)])
    head = [
        f'{title}, {budget}'
        for budget in BUDGETS.values()
        for title in SCORES.values()
    ]
    return table(['accuracy, %', *head], rows)


def _random(study: Study, setting: Setting) -> list[str]:
    """What scratch begins with: its frozen features are random."""
    return _once(
        {
            score: summarise(study.scores('scratch', setting, score))
            for score in ('linear', 'knn')
        }
    )


def _once(cells: dict[str, Cell | None]) -> list[str]:
    """A row that no budget changes and that cannot be finetuned."""
    told = ['-', percent(cells['linear']), percent(cells['knn'])]
    return [*told, '-', 'same', 'same']


def cost_table(study: Study, size: str, pretrain_on: str) -> str:
    """What pretraining took, per run.

    Args:
        study (Study): All records.
        size (str): Of the encoder.
        pretrain_on (str): ``'train'`` or ``'all'``.

    Returns:
        str: Markdown; methods that were pretrained, a range where their runs
        differ.
    """
    rows = []
    for budget, title in BUDGETS.items():
        setting = Setting(size, pretrain_on, budget)
        for name in shown_methods(study):
            runs = study.method_runs(name, setting)
            if any(
                run.finished and run.unit.kind == 'pretrain' for run in runs
            ):
                rows.append([METHODS[name].title, title, *_cost(runs)])
    if not rows:
        return f'Pretraining: {NOT_RUN}.'
    head = [
        'pretraining',
        'budget',
        'runs',
        'clips seen',
        'steps',
        'seconds',
        'seconds of the ventral stage, on top',
        'steps per second',
        'GPU busy, %',
        'runs at a time',
    ]
    return table(head, rows)


def _cost(runs: Sequence[Run]) -> list[str]:
    done = [run for run in runs if run.finished]
    main = [run.record for run in done if run.unit.kind == 'pretrain']
    before = [run.record for run in done if run.unit.kind == 'ventral']
    busy = [each['gpu_busy'] for each in main]
    on_top = spread([each['seconds'] for each in before])
    return [
        str(len(main)),
        spread([each.get('clips') for each in main]),
        spread([each['steps'] for each in main]),
        spread([each['seconds'] for each in main]),
        # A method without such a stage has nothing on top.
        on_top if before else 'none',
        spread([each['steps_per_second'] for each in main]),
        spread([None if x is None else 100 * x for x in busy]),
        spread([each.get('jobs') for each in main]),
    ]


def difference_table(comparisons: Sequence[Comparison]) -> str:
    """Paired differences of one setting, a row for two methods.

    Args:
        comparisons (Sequence[Comparison]): All scores of each pair of
            methods.

    Returns:
        str: Markdown.
    """
    rows: dict[tuple[str, str], list[Comparison]] = {}
    for each in comparisons:
        rows.setdefault((each.first, each.second), []).append(each)
    lines = [
        [
            f'{METHODS[first].title} minus {METHODS[second].title}',
            *map(interval, row),
            remarks(row),
        ]
        for (first, second), row in rows.items()
    ]
    return table(
        ['difference, percentage points', *SCORES.values(), 'warnings'], lines
    )


def remarks(row: Sequence[Comparison]) -> str:
    """What is wrong with comparisons, in bold; else nothing."""
    parts: dict[str, None] = {}
    for each in row:
        if each.incomplete:
            parts[
                f'{each.incomplete} incomplete pairs not used '
                f'({SCORES[each.score]})'
            ] = None
        parts |= dict.fromkeys(each.mixed)
    return f'**{"; ".join(parts)}**' if parts else ''
