"""Findings in plain language, by rules, from the intervals alone."""

from __future__ import annotations

from collections.abc import Sequence

from studies.mini.comparisons import Comparison
from studies.mini.methods import METHODS
from studies.mini.scores import SCORES, Setting, Study, summarise
from studies.mini.tables import BUDGETS

_MAIN = ('bimm', 'videomae')


def sentence(comparison: Comparison) -> str:
    """What a comparison says; the same form whoever wins.

    Args:
        comparison (Comparison): Two methods, one setting, one score.

    Returns:
        str: Ends without a full stop.
    """
    first = METHODS[comparison.first].title
    second = METHODS[comparison.second].title
    difference = comparison.difference
    if difference is None:
        return f'{first} against {second}: not run'
    mean, pairs = difference.mean, f'pairs: {difference.pairs}'
    if difference.low is None or difference.high is None:
        why = 'too few, or all equal: no interval'
        return (
            f'no difference between {first} and {second} can be shown: '
            f'{mean:+.1f} points ({pairs}, {why})'
        )
    ends = sorted((difference.low, difference.high))
    if difference.verdict == 'open':
        return (
            f'no difference between {first} and {second} can be shown: '
            f'{mean:+.1f} points (95 % interval {ends[0]:+.1f} to '
            f'{ends[1]:+.1f}, {pairs})'
        )
    low, high = sorted(map(abs, ends))
    return (
        f'{first} is {difference.verdict} than {second} by {abs(mean):.1f} '
        f'points (95 % interval {low:.1f} to {high:.1f}, {pairs})'
    )


def findings(study: Study, comparisons: Sequence[Comparison]) -> list[str]:
    """BIMM against VideoMAE in all scores, everything else by finetuning.

    Args:
        study (Study): All records.
        comparisons (Sequence[Comparison]): Of all settings.

    Returns:
        list[str]: Sentences, one a line of a list.
    """
    if all(each.difference is None for each in comparisons):
        return ['Nothing was run: nothing can be said about any method.']
    ran = {
        each.setting
        for each in comparisons
        if _is_main(each) and each.difference is not None
    }
    lines = []
    for each in comparisons:
        where = _where(each.setting)
        if _is_main(each) and each.setting not in ran:
            if each.score == 'finetune':  # once for all scores
                lines.append(f'{where}: {sentence(each)}.')
        elif _is_main(each) or (each.difference and each.score == 'finetune'):
            text = f'{where}, {SCORES[each.score]}: {sentence(each)}.'
            lines.append(text + _nothing(study, each))
    return lines


def beaten(comparisons: Sequence[Comparison]) -> bool | None:
    """Whether BIMM beats VideoMAE by finetuning in every setting that ran.

    Args:
        comparisons (Sequence[Comparison]): Of all settings.

    Returns:
        bool, optional: None if nothing ran.
    """
    verdicts = [
        each.difference.verdict
        for each in comparisons
        if _is_main(each)
        and each.score == 'finetune'
        and each.difference is not None
    ]
    return all(v == 'better' for v in verdicts) if verdicts else None


def against_trivial(
    study: Study, settings: Sequence[Setting], methods: Sequence[str]
) -> list[str]:
    """Which results are not above features without learning.

    Args:
        study (Study): All records.
        settings (Sequence[Setting]): Those on the page.
        methods (Sequence[str]): Those on the page.

    Returns:
        list[str]: Sentences, one for each setting with results.
    """
    lines = []
    for setting in settings:
        best = study.best_trivial(setting.size)
        ran = {
            (name, score): summarise(study.scores(name, setting, score))
            for name in methods
            for score in SCORES
        }
        cells = {key: cell for key, cell in ran.items() if cell is not None}
        if not cells:
            continue
        where = _where(setting)
        if best is None:
            lines.append(
                f'{where}: trivial features were not run; nobody can tell '
                'whether these results say something.'
            )
            continue
        below = [
            f'{METHODS[name].title}, {SCORES[score]} ({cell.mean:.1f} %)'
            for (name, score), cell in cells.items()
            if cell.mean < best[1]
        ]
        limit = f'{best[0]} ({best[1]:.1f} %)'
        if below:
            lines.append(
                f'{where}: below {limit}, which needs no learning of '
                f'features, and so says nothing: {"; ".join(below)}.'
            )
        else:
            lines.append(f'{where}: every result is above {limit}.')
    return lines


def _is_main(comparison: Comparison) -> bool:
    return (comparison.first, comparison.second) == _MAIN


def _nothing(study: Study, comparison: Comparison) -> str:
    """Added where both results are below a trivial feature."""
    best = study.best_trivial(comparison.setting.size)
    cells = [
        summarise(study.scores(name, comparison.setting, comparison.score))
        for name in (comparison.first, comparison.second)
    ]
    if best is None or not all(
        cell is not None and cell.mean < best[1] for cell in cells
    ):
        return ''
    return (
        f' Both are below {best[0]} ({best[1]:.1f} %): this comparison says '
        'nothing.'
    )


def _where(setting: Setting) -> str:
    size = setting.size.capitalize()
    on = ', all clips' if setting.pretrain_on == 'all' else ''
    return f'{size}, {BUDGETS[setting.budget]}{on}'
