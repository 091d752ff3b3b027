"""Tables and paired intervals of everything that was run.

Several folders, such as those of several machines, are read as one.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bimm_mm.apis.comparison import MAJORITY, SCRATCH
from bimm_mm.apis.curves import read_scalars
from bimm_mm.apis.features import TRIVIAL
from bimm_mm.apis.page import Page, Section, write_page
from bimm_mm.apis.statistics import score_sections
from bimm_mm.utils.files import read_json, write_json, write_text
from bimm_mm.utils.processes import mistakes_told

from .build_configs import METHODS
from .run import COMPARED, STUDY, check_same

# What all other methods are compared with.
BASELINES = (SCRATCH, 'videomae', 'bimm')
KEY = ['method', 'score', 'seed', 'fold']


def read_scores(homes: Iterable[Path]) -> pd.DataFrame:
    """Scores of all folders of the same study, see ``apis.statistics``.

    Of a score that several folders have, the first one's counts.
    """
    known: Any = None
    rows = []
    for home in homes:
        study = read_json(home / STUDY)
        known = known or study
        check_same(study, known, str(home))
        for path in sorted(home.glob(f'*/{COMPARED}/results.json')):
            rows += read_json(path)['scores']
    if not rows:
        raise FileNotFoundError('no score is measured there: run the study')
    return pd.DataFrame(rows).drop_duplicates(KEY)


def compared(names: Iterable[str]) -> list[tuple[str, str]]:
    """What is subtracted from what: each pair of methods once."""
    known = [n for n in ordered(names) if n not in (*TRIVIAL, MAJORITY)]
    pairs: list[tuple[str, str]] = []
    for second in BASELINES:
        for first in known if second in known else ():
            if first != second and (second, first) not in pairs:
                pairs.append((first, second))
    return pairs


def ordered(names: Iterable[str]) -> list[str]:
    """As in ``METHODS``, then others by their names."""
    known = [SCRATCH, *METHODS]
    return sorted(
        names, key=lambda n: (known.index(n) if n in known else len(known), n)
    )


def read_trainings(homes: Iterable[Path]) -> list[dict[str, Any]]:
    """What every finished training is of, where it ran, and how it ended."""
    rows = []
    for home in homes:
        for path in sorted(home.glob('*/**/run.json')):
            about = read_json(path)
            if not about['checkpoint']:
                continue
            log = read_scalars(path.parent)
            # At the step of a validation it is the validation's.
            ratios = {name: x for name, x in log.items() if '/' in name}
            times = log['time'].keys() - {
                step for x in ratios.values() for step in x
            }
            # What takes place once, such as starting and compiling, says
            # nothing about a method: hence the median.
            second = statistics.median(log['time'][step] for step in times)
            steps, tuned = max(log['loss']), about['verb'] == 'finetune'
            starts = sorted(path.parent.glob('*/provenance.json'))
            facts = [read_json(start) for start in starts]
            rows.append(
                {
                    'unit': path.relative_to(home).parts[0],
                    'method': path.parents[2 if tuned else 0].name,
                    'training': about['verb'],
                    'steps': steps,
                    'seconds a step': second,
                    'seconds': steps * second,
                    **{
                        key: sorted({fact[key] for fact in facts})
                        for key in ('revision', 'machine')
                    },
                    'last': {name: x[max(x)] for name, x in ratios.items()},
                }
            )
    return rows


def cost_table(trainings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Steps and seconds of every kind of training, means over runs."""
    if not trainings:
        return []
    kept = ['method', 'training', 'steps', 'seconds a step', 'seconds']
    table = pd.DataFrame(trainings)[kept].groupby(['method', 'training'])
    return (
        table.mean().assign(runs=table.size()).reset_index().to_dict('records')
    )


def write_report(homes: Sequence[Path], out: Path) -> Path:
    """Write ``report.html``, ``scores.csv`` and ``results.json``.

    The last one has the scores, the numbers of the study, and what is known
    of every training: it can be kept where the runs cannot.
    """
    scores, trainings = read_scores(homes), read_trainings(homes)
    write_text(scores.to_csv(index=False), out / 'scores.csv')
    kept = {
        'study': read_json(homes[0] / STUDY),
        'trainings': trainings,
        'scores': scores.to_dict('records'),
    }
    write_json(kept, out / 'results.json')
    names = {*scores['method']}
    sections = [
        *score_sections(scores, ordered(names), compared(names)),
        Section('Training', text=['Means.'], rows=cost_table(trainings)),
    ]
    return write_page(Page('Mini study', sections), out / 'report.html')


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
    with mistakes_told():
        main()
