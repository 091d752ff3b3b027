"""A page for people: what was measured and how to read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bimm_mm.engine.diagnosis_picture import draw_diagnosis
from bimm_mm.engine.diagnosis_records import Record, read_records
from bimm_mm.utils.files import atomic_path, write_text

PAGE, PICTURE = 'diagnosis.md', 'diagnosis.png'

_HOW_TO_READ = {
    'loss': (
        'Loss relative to the mean: 1 is what predicting the mean of the '
        'target over these samples scores; only below 1 the visible tokens '
        'were used.'
    ),
    'norm': (
        'Gradient norm: how hard the weighted loss of an area pulls at the '
        "shared blocks; an area with a tenth of the others' norm has "
        'little say there, one with ten times decides alone.'
    ),
    'cosine': (
        'Cosine: above 0 a step for one area helps the other, near 0 they do '
        'not meet, below 0 the areas pull the shared blocks apart. It is '
        'taken at the blocks that both areas reach.'
    ),
    'rank': (
        'Effective rank: how many directions the tokens of a block use '
        '(Roy and Vetterli, 2007; of tokens less their mean); a block that '
        'falls towards 1 collapses.'
    ),
    'knn': (
        'k-NN: share of samples whose nearest others, by the mean token of a '
        'block, have their label; not above the most frequent class, the '
        'block knows nothing of these labels.'
    ),
}


def write_page(work_dir: str | Path) -> Path:
    """Write ``diagnosis.md`` and ``diagnosis.png`` from the measurements.

    Args:
        work_dir (str | Path): Where ``diagnosis.jsonl`` is; the run may still
            be going on.

    Returns:
        Path: The page.

    Raises:
        FileNotFoundError: If nothing was measured.
    """
    work_dir = Path(work_dir)
    records = read_records(work_dir / 'diagnosis.jsonl')
    with atomic_path(work_dir / PICTURE) as draft:
        draw_diagnosis(records).savefig(draft, dpi=90)
    write_text(page_text(records), work_dir / PAGE)
    return work_dir / PAGE


def page_text(records: Sequence[Record]) -> str:
    """The page in Markdown.

    Args:
        records (Sequence[Record]): Measurements in order, at least one.

    Returns:
        str: Its text; every number of first and last measurement is in it.
    """
    first, last = records[0], records[-1]
    seconds = sum(record['seconds'] for record in records)
    parts = [
        '# Diagnosis of the areas',
        f'{len(records)} measurements, iteration {first["iter"]} to '
        f'{last["iter"]}, on {last["samples"]} fixed clips or images of the '
        f'{last["split"]} set, seed {last["seed"]}; they took '
        f'{seconds:.1f} s altogether.',
        f'![Curves of every number below]({PICTURE})',
        '## Areas',
        _area_table(first, last),
        _HOW_TO_READ['loss'],
        _HOW_TO_READ['norm'],
        f'The shared blocks: {_where(last["shared"])}.',
        '## Cosine between gradients at the end',
        *_cosine_part(last),
        '## Blocks',
        _block_table(first, last),
        _HOW_TO_READ['rank'],
        *_limits(last),
        *_knn_part(last),
    ]
    return '\n\n'.join(parts) + '\n'


def _area_table(first: Record, last: Record) -> str:
    rows = []
    for name in last['areas']:
        told = [
            _error(record['areas'].get(name, {})) for record in (first, last)
        ]
        norms = [
            _number(record['gradient_norm'].get(name))
            for record in (first, last)
        ]
        rows.append([name, *told, *norms])
    header = [
        'area',
        'relative loss, first',
        'last',
        'gradient norm, first',
        'last',
    ]
    return _table(header, rows)


def _error(metrics: dict[str, float]) -> str:
    """Relative loss; codes are classes, which have no mean."""
    if 'cross_entropy' in metrics:
        return f'cross-entropy {_number(metrics["cross_entropy"])}'
    return _number(metrics.get('ratio'))


def _cosine_part(record: Record) -> list[str]:
    names = list(record['gradient_norm'])
    if record['cosine'] is None:
        return [
            f'{names[0]} is the only area: there is no other gradient to '
            'compare its own with.'
        ]
    rows = [
        [name, *map(_number, row)]
        for name, row in zip(names, record['cosine'], strict=True)
    ]
    return [_table(['', *names], rows), _HOW_TO_READ['cosine']]


def _block_table(first: Record, last: Record) -> str:
    knn = (last['knn'] or {}).get('blocks', {})
    rows = []
    for prefix, rank in last['rank'].items():
        before = first['rank'].get(prefix, {}).get('blocks', [])
        for index, value in enumerate(rank['blocks']):
            start = before[index] if index < len(before) else None
            accuracy = (
                _number(knn[prefix][index])
                if prefix in knn
                else 'not measured'
            )
            block = f'{prefix.rstrip("_")} {index + 1}'.strip()
            rows.append([block, _number(start), _number(value), accuracy])
    header = ['block', 'effective rank, first', 'last', 'k-NN, last']
    return _table(header, rows)


def _limits(record: Record) -> list[str]:
    limits = [
        f'{rank["limit"]} ({prefix.rstrip("_") or "the encoder"})'
        for prefix, rank in record['rank'].items()
    ]
    return [
        f'It cannot exceed {", ".join(limits)}. The last block is read '
        "behind the encoder's final norm."
    ]


def _knn_part(record: Record) -> list[str]:
    knn = record['knn']
    if knn is None:
        return [
            'k-NN accuracy was not measured: give the hook a small labelled '
            'set, `knn=dict(dataset=...)`.'
        ]
    return [
        _HOW_TO_READ['knn'],
        f'{knn["samples"]} labelled samples, k = {knn["k"]}, leave-one-out; '
        f'the most frequent class has {_number(knn["majority"])} of them.',
    ]


def _where(shared: dict[str, list[int]]) -> str:
    """Such as 'blocks 1, 2 of ventral, blocks 1, 2 of dorsal'."""
    parts = [
        f'blocks {", ".join(map(str, numbers))} of '
        + (prefix.rstrip('_') or 'the encoder')
        for prefix, numbers in shared.items()
        if numbers
    ]
    return '; '.join(parts)


def _number(value: float | None) -> str:
    return '-' if value is None else f'{value:.3g}'


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)
