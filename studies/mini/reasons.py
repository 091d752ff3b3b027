"""Why an area does not help: the runs' diagnosis, and what was tested."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from studies.mini.comparisons import compare
from studies.mini.markdown import NOT_RUN, figure, interval, table
from studies.mini.methods import METHODS
from studies.mini.reading import Run
from studies.mini.scores import Setting, Study

# Likely causes, and the methods that change nothing else. Whether a longer
# schedule helps no method tells: it is a number of the settings.
CAUSES = (
    (
        'loss scales: an area whose gradient is far larger decides alone',
        ('targets_v1', 'targets_v1_v2', 'pixels_mae', 'pixels_none'),
    ),
    ('decoder of V1', ('v1_transformer', 'v1_visible')),
    (
        "contours: Sobel's filter instead of SAM; without V2 there are none",
        ('targets_v1',),
    ),
    ('sharing of blocks', ('bimm_unshared', 'sharing_all')),
    ('ventral stage on few frames instead of ImageNet', ('init_none',)),
    ('where the areas are', ('separation_4_8_12', 'separation_6_9_12')),
    ('mask ratio', ('mask_50', 'mask_75', 'mask_95')),
    ('schedule: too few steps for several areas', ()),
)


def area_table(study: Study, setting: Setting, methods: Sequence[str]) -> str:
    """Loss and gradients of every area at the end of pretraining.

    Args:
        study (Study): All records.
        setting (Setting): Size, budget and clips to pretrain on.
        methods (Sequence[str]): Keys of METHODS.

    Returns:
        str: Markdown, means over runs; ``'not run'`` without any.
    """
    rows = []
    for name in methods:
        last = diagnoses(study, setting, name)
        for area in last[0]['areas'] if last else ():
            cells = [
                _mean(last, lambda each, a=area: _error(each, a)),
                _mean(last, lambda each, a=area: each['gradient_norm'].get(a)),
                _mean(last, lambda each, a=area: _cosine(each, a)),
            ]
            rows.append([METHODS[name].title, area, *cells, str(len(last))])
    head = [
        'pretraining',
        'area',
        'loss relative to the mean',
        'gradient norm',
        'mean cosine to other areas',
        'runs',
    ]
    return table(head, rows or [[NOT_RUN] * len(head)])


def rank_table(study: Study, setting: Setting, methods: Sequence[str]) -> str:
    """Effective rank and k-NN accuracy of the blocks, likewise."""
    rows = []
    for name in methods:
        last = diagnoses(study, setting, name)
        for prefix in last[0]['rank'] if last else ():
            cells = [
                _mean(last, lambda each, p=prefix, f=f: f(_ranks(each, p)))
                for f in (lambda r: r[0], min, lambda r: r[-1])
            ]
            limit = _mean(last, lambda each, p=prefix: _limit(each, p))
            knn = _mean(last, lambda each, p=prefix: _last_knn(each, p))
            branch = prefix.rstrip('_') or 'encoder'
            rows.append([METHODS[name].title, branch, *cells, limit, knn])
    head = [
        'pretraining',
        'branch',
        'effective rank, block 1',
        'lowest',
        'last block',
        'greatest possible',
        'k-NN of the last block',
    ]
    return table(head, rows or [[NOT_RUN] * len(head)])


def cause_table(study: Study, setting: Setting) -> str:
    """Likely causes, the methods that test them, and what came of it.

    Args:
        study (Study): All records.
        setting (Setting): Size, budget and clips to pretrain on.

    Returns:
        str: Markdown.
    """
    rows = []
    for cause, names in CAUSES:
        for name in names:
            found = compare(study, name, 'bimm', setting, 'finetune')
            tested = 'no' if found.difference is None else 'yes'
            title = f'{METHODS[name].title} (`{name}`)'
            rows.append([cause, title, tested, interval(found)])
        if not names:
            rows.append([cause, 'no method: more steps', 'no', NOT_RUN])
    head = ['likely cause', 'method that tests it', 'tested', 'minus BIMM']
    return table(head, rows)


def diagnoses(
    study: Study, setting: Setting, method: str
) -> list[Mapping[str, Any]]:
    """Last measurements of a method's finished pretrainings."""
    return [
        run.record['diagnosis']
        for run in study.method_runs(method, setting)
        if _is_diagnosed(run)
    ]


def _is_diagnosed(run: Run) -> bool:
    return (
        run.finished
        and run.unit.kind == 'pretrain'
        and run.record.get('diagnosis') is not None
    )


def _error(record: Mapping[str, Any], area: str) -> float | None:
    return record['areas'].get(area, {}).get('ratio')


def _cosine(record: Mapping[str, Any], area: str) -> float | None:
    """Mean over the other areas that reach the same blocks."""
    names = list(record['gradient_norm'])
    if record['cosine'] is None or area not in names:
        return None
    own = names.index(area)
    told = [
        value
        for index, value in enumerate(record['cosine'][own])
        if index != own and value is not None
    ]
    return statistics.fmean(told) if told else None


def _ranks(record: Mapping[str, Any], prefix: str) -> Sequence[float]:
    return record['rank'][prefix]['blocks']


def _limit(record: Mapping[str, Any], prefix: str) -> float | None:
    return record['rank'][prefix]['limit']


def _last_knn(record: Mapping[str, Any], prefix: str) -> float | None:
    blocks = (record['knn'] or {}).get('blocks', {}).get(prefix)
    return None if blocks is None else blocks[-1]


def _mean(
    records: Sequence[Mapping[str, Any]],
    value: Callable[[Mapping[str, Any]], float | None],
) -> str:
    told = [v for v in map(value, records) if v is not None]
    return figure(statistics.fmean(told) if told else None)
