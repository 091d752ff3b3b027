"""The page: its parts in order, from the records alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.mini import prose
from studies.mini.comparisons import Comparison, compare, pairs_of_methods
from studies.mini.figures import (
    curves_name,
    panels,
    picture_name,
    pictured_runs,
)
from studies.mini.findings import against_trivial, beaten, findings
from studies.mini.markdown import NOT_RUN
from studies.mini.methods import METHODS
from studies.mini.reading import REAL_SIZES, TOY, Run
from studies.mini.reasons import area_table, cause_table, diagnoses, rank_table
from studies.mini.scores import SCORES, Setting, Study, described
from studies.mini.tables import (
    BUDGETS,
    cost_table,
    difference_table,
    score_table,
    shown_methods,
)

_NOT_RUN = f'{NOT_RUN.capitalize()}.'
# The protocol: for each method, size and budget.
_PLANNED = 15
_ON = {
    'train': "pretrained on each fold's training clips",
    'all': 'pretrained on all clips without labels (transductive)',
}


def shown_study(runs: Sequence[Run]) -> Study:
    """Toy results never stand beside real ones.

    Args:
        runs (Sequence[Run]): All records.

    Returns:
        Study: Those of real sizes; the toy ones if there are no others.
    """
    real = [run for run in runs if run.unit.size != TOY]
    return Study(real or list(runs))


def shown_settings(study: Study) -> list[Setting]:
    """Every size twice, by budget; all clips only where they were used."""
    toy = any(run.unit.size == TOY for run in study.runs)
    found = []
    for size in (TOY,) if toy else REAL_SIZES:
        began = {
            run.unit.pretrain_on for run in study.runs if run.unit.size == size
        }
        for on in _ON:
            if on in (began or {'train'}):
                found += [Setting(size, on, budget) for budget in BUDGETS]
    return found


def page(
    runs: Sequence[Run],
    *,
    out: Path,
    images: Path,
    chosen: Mapping[str, Any] | None = None,
) -> str:
    """The whole page.

    Args:
        runs (Sequence[Run]): All records.
        out (Path): Where the page will be.
        images (Path): Folder of its figures. A reconstruction is linked if
            it is there.
        chosen (Mapping, optional): How the settings were chosen, see
            :func:`~studies.mini.report.read_settings`.

    Returns:
        str: Markdown; the same for the same arguments.
    """
    study = shown_study(runs)
    settings = shown_settings(study)
    comparisons = [
        compare(study, first, second, setting, score)
        for setting in settings
        for first, second in pairs_of_methods(study)
        for score in SCORES
    ]
    link = Path(os.path.relpath(images, out.parent)).as_posix()
    parts = [
        *([prose.TOY] if settings[0].size == TOY else []),
        prose.TITLE,
        *_asked(study, runs),
        '## Findings',
        *_findings(study, settings, comparisons),
        *_results(study, settings, comparisons),
        '## Why an area does not help: diagnosis',
        *_reasons(study, settings),
        '## Loss of each area',
        *_curves(study, settings, link),
        '## Reconstructions of a free clip',
        *_pictures(study, settings, images, link),
        '## How the settings were chosen',
        *_chosen(chosen),
        '## What this study can and cannot say',
        prose.LIMITS,
    ]
    return '\n\n'.join(parts) + '\n'


def _asked(study: Study, runs: Sequence[Run]) -> list[str]:
    done = study.finished()
    lines = [
        f'- data: {_data(done)}',
        f'- hardware: {_values(done, "hardware")}',
        f'- revision: {_values(done, "revision")}',
        f'- records: {len(done)} finished and used, '
        f'{len(study.runs) - len(done)} begun and not finished (not used)',
    ]
    left_out = len(runs) - len(study.runs)
    if left_out:
        lines.append(
            f'- {left_out} records of toy size are left out: they say nothing'
        )
    return [
        prose.QUESTION,
        '\n'.join(lines),
        *_made_by(done),
        'Repeated by:' if done else 'To be made by:',
        prose.COMMANDS,
        '## On your own clips',
        prose.OWN_CLIPS,
    ]


def _made_by(done: Sequence[Run]) -> list[str]:
    """The commands of all calls, each once."""
    commands = sorted({run.record.get('command') for run in done} - {None})
    if not commands:
        return []
    return ['Made by:', '\n'.join(['```bash', *commands, '```'])]


def _data(done: Sequence[Run]) -> str:
    if not done:
        return NOT_RUN
    data = done[0].record['data']
    folds = {run.unit.fold for run in done if run.unit.fold is not None}
    return (
        f'{data["name"]}, {data["videos"]} clips, {data["classes"]} classes, '
        f'folds with results: {len(folds)}, lists {data["sha256"][:12]}'
    )


def _values(done: Sequence[Run], key: str) -> str:
    values = sorted({described(run, key) for run in done})
    text = '; '.join(values) or NOT_RUN
    return f'**mixed:** {text}' if len(values) > 1 else text


def _findings(
    study: Study,
    settings: Sequence[Setting],
    comparisons: Sequence[Comparison],
) -> list[str]:
    lines = findings(study, comparisons)
    lines += against_trivial(study, settings, shown_methods(study))
    parts = ['\n'.join(f'- {line}' for line in lines)]
    if beaten(comparisons) is False:
        parts.append(
            'In at least one setting that was run BIMM is not shown to beat '
            f'VideoMAE by finetuning. {prose.BESIDES}'
        )
    return parts


def _results(
    study: Study,
    settings: Sequence[Setting],
    comparisons: Sequence[Comparison],
) -> list[str]:
    number = sum(each.difference is not None for each in comparisons)
    parts = ['## How to read the tables', prose.HOW_TO_READ]
    for setting in settings:
        if setting.budget == 'clips':
            size, on = setting.size, setting.pretrain_on
            parts += [
                f'## Size {size}, {_ON[on]}',
                _progress(study, setting),
                score_table(study, size, on),
                cost_table(study, size, on),
            ]
        found = [each for each in comparisons if each.setting == setting]
        ran = any(each.difference is not None for each in found)
        parts += [
            f'### Paired differences: {setting.size}, '
            f'{BUDGETS[setting.budget]}, {_ON[setting.pretrain_on]}',
            difference_table(found) if ran else _NOT_RUN,
        ]
    return [
        *parts,
        f'{prose.INTERVALS} This page compares {number} times, and nothing '
        'is corrected for that: of 20 comparisons without a difference, one '
        'is expected to show one.',
    ]


def _progress(study: Study, setting: Setting) -> str:
    told = []
    for name in shown_methods(study):
        ran = len(study.scores(name, setting, 'finetune'))
        told.append(f'{METHODS[name].title} {ran} of {_PLANNED}')
    return (
        'Finetunings that are finished, same clips, of those planned (3 '
        f'seeds, 5 folds): {", ".join(told)}.'
    )


def _reasons(study: Study, settings: Sequence[Setting]) -> list[str]:
    methods, parts = shown_methods(study), []
    same_clips = [each for each in settings if each.budget == 'clips']
    ran = [
        setting
        for setting in same_clips
        if any(diagnoses(study, setting, name) for name in methods)
    ]
    for setting in ran:
        parts += [
            f'### {setting.size.capitalize()}, {_ON[setting.pretrain_on]}',
            area_table(study, setting, methods),
            rank_table(study, setting, methods),
            cause_table(study, setting),
        ]
    if not ran:
        parts = [_NOT_RUN, cause_table(study, same_clips[0])]
    return [
        'At the end of pretraining, mean over runs, same clips; see '
        '[diagnosis.md](diagnosis.md). Likely causes, each with the optional '
        'methods that change only that (`--methods`), and their finetuning '
        'minus that of BIMM in percentage points:',
        *parts,
    ]


def _curves(study: Study, settings: Sequence[Setting], link: str) -> list[str]:
    names = [
        (setting, curves_name(setting))
        for setting in settings
        if panels(study, setting)
    ]
    return [
        'Relative to predicting the mean of the target, 1 is what knowing '
        'nothing costs. Mean over runs, band from the least to the greatest.',
        *(
            f'![{setting.size}, {BUDGETS[setting.budget]}, '
            f'{_ON[setting.pretrain_on]}]({link}/{name})'
            for setting, name in names
        ),
        *([] if names else [_NOT_RUN]),
    ]


def _pictures(
    study: Study, settings: Sequence[Setting], images: Path, link: str
) -> list[str]:
    lines = []
    shown = [each for each in settings if each.budget == 'clips']
    for setting in shown:
        for run in pictured_runs(study, setting):
            name = picture_name(run)
            if (images / name).is_file():
                title = METHODS[run.unit.method].title
                text = (
                    f'{title}, {setting.size}, '
                    f'{_ON[setting.pretrain_on]}, seed {run.unit.seed}'
                )
                lines.append(f'![{text}]({link}/{name})')
    return lines or [_NOT_RUN]


def _chosen(chosen: Mapping[str, Any] | None) -> list[str]:
    if chosen is None:
        return [f'{prose.UNCHOSEN[0].upper()}{prose.UNCHOSEN[1:]}']
    parts = [
        'On VideoMAE alone, on clips of the training list of fold 0 that were '
        'held out from it, before any method was compared.'
    ]
    for name, each in chosen.items():
        if isinstance(each, Mapping):
            parts += [f'{name}: {each["chosen"]}', each['table'].strip()]
            if 'command' in each:
                parts.append(f'Made by `{each["command"]}`.')
    return parts
