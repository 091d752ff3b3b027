"""Run any part of the mini study, for as long as there is time.

What is finished is not done again; what was stopped goes on. Call it again
until nothing is left, here or elsewhere, and merge the results.
"""

from __future__ import annotations

import time

# The time for a call includes the imports.
_BEGIN = time.time()

import argparse  # noqa: E402
import math  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

from studies.mini.arguments import add_data_arguments  # noqa: E402

if TYPE_CHECKING:
    from studies.mini.data import StudyData
    from studies.mini.driver import Outcome
    from studies.mini.plan import Choice, Estimate
    from studies.mini.study import Study
    from studies.mini.units import Unit

# Of the time of a call: for the last step, saving, and merging results.
_RESERVE_SHARE = 0.1
_RESERVE_MOST = 25.0  # seconds


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """OpenMMLab's way of flags."""
    parser = argparse.ArgumentParser(
        prog='python -m studies.mini.run', description=__doc__
    )
    add_data_arguments(parser)
    parser.add_argument('--name', help='of the data; default: the folder')
    parser.add_argument(
        '--home', help='default: work_dirs/mini_study/<name of the data>'
    )
    _add_choice(parser)
    parser.add_argument(
        '--minutes',
        type=float,
        default=8.5,
        help='after which this call has ended; 0: no limit; default: 8.5',
    )
    parser.add_argument(
        '--jobs',
        type=int,
        default=1,
        help='units that run side by side on the device; default: 1',
    )
    parser.add_argument(
        '--compile', action='store_true', help='compile pretraining'
    )
    parser.add_argument(
        '--device', choices=['cuda', 'cpu'], default='cuda', help='%(choices)s'
    )
    parser.add_argument(
        '--merge',
        nargs='+',
        default=[],
        metavar='RESULTS',
        help='results.json of other machines, to be kept and added',
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='list the units and do nothing'
    )
    args = parser.parse_args(argv)
    if args.jobs < 1 or args.minutes < 0:
        parser.error('--jobs must be at least 1, --minutes at least 0')
    return args


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--size', nargs='+', default=['small'], help='default: small'
    )
    parser.add_argument(
        '--methods',
        nargs='+',
        help='default: all but the optional rows of Table 7',
    )
    parser.add_argument(
        '--seeds', nargs='+', type=int, default=[0, 1, 2], help='0 1 2'
    )
    parser.add_argument(
        '--fold', nargs='+', help='names of folds; default: all'
    )
    parser.add_argument(
        '--budget',
        nargs='+',
        choices=['clips', 'time'],
        default=['clips'],
        help='what methods have in common: clips seen, or wall time; '
        'default: clips',
    )
    parser.add_argument(
        '--pretrain-on',
        choices=['train', 'all'],
        default='train',
        help="each fold's training clips, or all clips once, without labels; "
        'default: train',
    )


def main(argv: list[str] | None = None) -> int:
    """Run; 0 unless a unit failed."""
    args = parse_args(argv)
    from studies.mini.data import StudyData
    from studies.mini.lock import alone
    from studies.mini.results import collect, keep_results
    from studies.mini.study import Study

    home = _home(args)
    data = StudyData.read(
        args.videos, folds=tuple(args.folds), name=args.name, home=home
    )
    choice = _choice(args, data)
    end = _BEGIN + 60 * args.minutes if args.minutes else math.inf
    reserve = min(_RESERVE_MOST, _RESERVE_SHARE * 60 * args.minutes)
    study = Study(
        home, data, args.device, args.jobs, args.compile, end - reserve
    )
    if args.dry_run:
        return _list_units(study, choice, collect(home))
    _check_device(args.device)
    with alone(home):
        keep_results(home, args.merge)
        return _run(study, choice, kill_at=end - reserve / 4)


def _home(args: argparse.Namespace) -> Path:
    name = args.name or Path(args.videos).resolve().name
    return Path(args.home or f'work_dirs/mini_study/{name}').resolve()


def _choice(args: argparse.Namespace, data: StudyData) -> Choice:
    """The part of the study, checked against data and sizes."""
    from studies.mini.methods import METHODS
    from studies.mini.plan import Choice
    from studies.mini.shrink import read_size

    for size in args.size:
        read_size(size)
    known = [m.name for m in METHODS.values() if not m.optional]
    folds = args.fold or [fold.name for fold in data.folds]
    return Choice(
        sizes=tuple(args.size),
        methods=tuple(args.methods or known),
        seeds=tuple(args.seeds),
        folds=tuple(data.fold(name).name for name in folds),
        budgets=tuple(args.budget),
        pretrain_on=args.pretrain_on,
    )


def _check_device(device: str) -> None:
    import torch

    if device == 'cuda' and not torch.cuda.is_available():
        raise ValueError(
            'torch sees no GPU: run this where there is one, or add '
            '--device cpu'
        )


def _plan(study: Study, choice: Choice, records: dict[str, Any]) -> list[Unit]:
    """What is left to do."""
    from studies.mini.plan import plan

    def scored(unit: Unit) -> bool:
        return bool(records.get(unit.id, {}).get('finished'))

    return plan(choice, scored=scored, finished=study.finished)


def _list_units(study: Study, choice: Choice, records: dict[str, Any]) -> int:
    """Say what there is to do."""
    from studies.mini.plan import Estimate, every_unit
    from studies.mini.progress import left_text

    left = _plan(study, choice, records)
    every = every_unit(choice)
    for unit in every:
        record = records.get(unit.id, {})
        state = 'to do'
        if unit not in left:
            state = 'done' if record.get('finished') else 'not needed'
        elif record:
            state = f'begun, {record["steps"]} steps'
        print(f'{state:>20}  {unit.id}')
    estimate = Estimate(records.values())
    time_left = left_text(estimate.all(left, study.jobs))
    print(f'{len(every) - len(left)} of {len(every)} units done, {time_left}')
    return 0


def _run(study: Study, choice: Choice, *, kill_at: float) -> int:
    """Run what is left, merge, report."""
    from studies.mini.driver import Driver
    from studies.mini.plan import Estimate
    from studies.mini.pool import Pool
    from studies.mini.progress import Progress
    from studies.mini.results import collect, merge

    records = collect(study.home)
    units = _plan(study, choice, records)
    estimate = Estimate(records.values())
    with (
        _asked() as asked,
        Pool(study) as pool,
        Progress(len(units), estimate=estimate, jobs=study.jobs) as progress,
    ):
        driver = Driver(
            study,
            units,
            estimate=estimate,
            stop_at=study.stop_at,
            kill_at=kill_at,
            asked=asked,
        )
        outcome = driver.run(pool, progress)
    path = merge(study.home)
    return _report(outcome, estimate, study.jobs, path)


@contextmanager
def _asked() -> Iterator[Any]:
    """Turn Ctrl-C and SIGTERM into a question that is answered with yes.

    The second Ctrl-C ends at once.
    """
    signals: list[int] = []

    def note(number: int, _: Any) -> None:
        if signals:
            raise KeyboardInterrupt
        signals.append(number)
        print('stopping: trainings save their state', file=sys.stderr)

    before = {
        number: signal.signal(number, note)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: bool(signals)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(
    outcome: Outcome, estimate: Estimate, jobs: int, path: Path
) -> int:
    """Say what was done; 1 if something failed."""
    from studies.mini.progress import left_text

    seconds = time.time() - _BEGIN
    print(f'{len(outcome.finished)} units finished in {seconds:.0f} s')
    if outcome.left:
        left = left_text(estimate.all(outcome.left, jobs))
        print(f'{len(outcome.left)} units to do ({left}): call again')
    for unit, reason in outcome.failed.items():
        print(f'FAILED: {unit.id}: {reason}', file=sys.stderr)
    if outcome.failed:
        logs = path.parent / 'logs'
        print(f'{len(outcome.failed)} failed, see {logs}', file=sys.stderr)
    print(f'results: {path}')
    return int(bool(outcome.failed))


if __name__ == '__main__':
    try:
        sys.exit(main())
    except (FileNotFoundError, ValueError) as problem:
        sys.exit(f'studies.mini.run: {problem}')
