"""Runs the candidates of ``settings.py`` and says which one is chosen.

Writes ``settings.json`` for the report; the numbers that are chosen are copied
into the size's file of ``studies/mini/configs`` by hand, once, before anything
is compared. What is finished is not done again, and what was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

import bimm_mm  # noqa: F401  its workarounds, before other libraries
from bimm_mm.apis import build_runner, set_resume, write_json
from bimm_mm.apis.provenance import revision
from studies.mini.arguments import add_data_arguments
from studies.mini.data import StudyData
from studies.mini.deadline import (
    StopAtDeadline,
    newest_checkpoint,
    remove_checkpoints,
)
from studies.mini.parts import DEVICES
from studies.mini.settings import (
    CANDIDATES,
    choose,
    inner_fold,
    pretraining_record,
    pretraining_trial,
)
from studies.mini.shrink import sizes
from studies.mini.timing import hardware

RECORD = 'record.json'


def run_candidates(
    data: StudyData,
    home: str | Path,
    *,
    size: str,
    seeds: Sequence[int] = (0,),
    device: str = 'cuda',
    stop_at: float = math.inf,
    **limits: int,
) -> dict[str, Any] | None:
    """Train all candidates and choose.

    Args:
        data (StudyData): The clips.
        home (str | Path): Work folder.
        size (str): See ``read_size``.
        seeds (Sequence[int]): Each candidate is run with all of them.
            Defaults to (0,).
        device (str): ``'cuda'`` or ``'cpu'``. Defaults to ``'cuda'``.
        stop_at (float): Seconds since 1970 when to save and stop.
            Defaults to never.
        **limits (int): ``steps`` in place of all candidates' own, to try
            this out; its choice says nothing.

    Returns:
        dict, optional: What ``home/settings.json`` holds; None if the time
        was over before.

    Raises:
        ValueError: If no candidate has learnt anything.
    """
    home = Path(home)
    common = dict(
        data=data,
        fold=inner_fold(data, home / 'inner'),
        size=size,
        device=device,
        **limits,
    )
    records = []
    for name in CANDIDATES:
        for seed in seeds:
            folder = home / f'{name}-seed{seed}'
            cfg = pretraining_trial(name, work_dir=folder, seed=seed, **common)
            record = _run(name, cfg, folder, stop_at)
            if record is None:
                return None
            records.append(record)
    chosen, table = choose(records)
    stage = {
        'chosen': chosen,
        'table': table,
        'size': size,
        'data': data.name,
        'command': shlex.join(['python', *sys.argv]),
        'revision': revision(),
        'hardware': hardware(),
    }
    settings = {'pretraining': stage}
    write_json(settings, home / 'settings.json')
    return settings


def _run(
    name: str, cfg: Config, folder: Path, stop_at: float
) -> dict[str, Any] | None:
    """Record of a candidate; None if its training was stopped."""
    path = folder / RECORD
    if not path.is_file():
        checkpoint = newest_checkpoint(folder)
        if checkpoint is not None:
            set_resume(cfg, str(checkpoint))
        # Several runs in one process share mmengine's places by name.
        cfg.experiment_name = folder.name
        runner = build_runner(cfg)
        stop = StopAtDeadline(stop_at)
        runner.register_hook(stop)
        runner.train()
        if stop.stopped:
            return None
        write_json(pretraining_record(name, folder), path)
        remove_checkpoints(folder, keep=0)
    return json.loads(path.read_text(encoding='utf-8'))


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; 1 if the time was over before the end."""
    parser = argparse.ArgumentParser(
        prog='python -m studies.mini.choose', description=__doc__
    )
    add_data_arguments(parser)
    parser.add_argument('--home', required=True, help='work folder')
    parser.add_argument('--size', choices=sizes(), default='small')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--device', choices=DEVICES, default='cuda')
    parser.add_argument(
        '--minutes',
        type=float,
        default=0,
        help='after which trainings stop, to go on in the next call; '
        'default: no limit',
    )
    args = parser.parse_args(argv)
    data = StudyData.read(args.videos, folds=tuple(args.folds), home=args.home)
    settings = run_candidates(
        data,
        args.home,
        size=args.size,
        seeds=args.seeds,
        device=args.device,
        stop_at=time.time() + 60 * args.minutes if args.minutes else math.inf,
    )
    if settings is None:
        print('stopped: the same command goes on from here')
        return 1
    print(settings['pretraining']['table'])
    return 0


if __name__ == '__main__':
    sys.exit(main())
