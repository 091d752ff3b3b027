"""Runs one unit through the released code."""

from __future__ import annotations

import copy
import gc
import shlex
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import cache
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from bimm_mm.apis import atomic, build_runner, read_scalars, set_resume
from bimm_mm.apis.provenance import revision
from bimm_mm.engine.diagnosis import RECORDS
from bimm_mm.engine.diagnosis_records import read_records
from bimm_mm.models.checkpoints.load import read_state_dict
from studies.mini.deadline import (
    StopAtDeadline,
    newest_checkpoint,
    remove_checkpoints,
)
from studies.mini.gpu import current_gpu
from studies.mini.pictures import free_clip, save_reconstruction
from studies.mini.results import Record, write_record
from studies.mini.scoring import finetuned_score, probe_scores, trivial_scores
from studies.mini.stopwatch import Stopwatch, Tell, steps_per_second
from studies.mini.study import Study
from studies.mini.timing import hardware
from studies.mini.units import Unit

_RATIO = '/ratio'
# Spawned processes have the driver's arguments.
_PROGRAM = ('python', '-m', 'studies.mini.run')


def run_unit(
    study: Study, unit: Unit, *, tell: Tell, asked: Callable[[], bool]
) -> bool:
    """Do a unit, or go on with it, until it is finished or time is over.

    Args:
        study (Study): What all units share.
        unit (Unit): All that it needs is finished.
        tell (Callable): Is told about the progress of trainings.
        asked (Callable): Whether to stop now.

    Returns:
        bool: Whether it is finished; its record says so too.

    Raises:
        ValueError: If it was begun with another config.
    """
    start = time.monotonic()
    for need in unit.needs():
        # It may be finished since long, and settings have changed.
        study.check_same(need, study.text(study.config(need)))
    cfg = study.config(unit)
    text = study.text(cfg)
    record = _begin(study, unit, text, study.check_same(unit, text))
    before = record['wall']
    try:
        work = _train if unit.trains else _evaluate
        work(study, unit, cfg, record, tell, asked)
    except Exception as error:
        record['error'] = f'{type(error).__name__}: {error}'
        raise
    finally:
        record['wall'] = before + time.monotonic() - start
        write_record(study.home, record)
        _clean_up(study)
    if record['finished']:
        remove_checkpoints(study.folder(unit), keep=0)
    return record['finished']


def _begin(
    study: Study, unit: Unit, text: str, former: Record | None
) -> Record:
    """The record of a unit that begins or goes on."""
    record = _empty(study, unit, text) | (former or {})
    record.pop('error', None)
    now = hardware()
    if former and former['hardware']['device'] != now['device']:
        # Told apart from both, so that nobody compares its times.
        device = f'{former["hardware"]["device"]}, then {now["device"]}'
        record['hardware'] = now | {'device': device}
    record |= {'revision': _revision(), 'jobs': study.jobs}
    record['command'] = shlex.join([*_PROGRAM, *sys.argv[1:]])
    write_record(study.home, record)
    return record


def _empty(study: Study, unit: Unit, text: str) -> Record:
    data = study.data
    return {
        'id': unit.id,
        'unit': dict(vars(unit)),
        'finished': False,
        'config': text,
        'hardware': hardware(),
        'started': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'seconds': 0.0,
        'wall': 0.0,
        'steps': 0,
        'clips': 0,
        'steps_per_second': None,
        'gpu_busy': None,
        'compile': study.compile and unit.pretrains,
        'data': {
            'name': data.name,
            'sha256': data.sha256,
            'videos': data.size,
            'classes': len(data.classes),
        },
        'curves': {},
        'diagnosis': None,
        'scores': {},
    }


@cache
def _revision() -> str:
    return revision()


def _evaluate(
    study: Study,
    unit: Unit,
    cfg: Config,
    record: Record,
    tell: Tell,
    asked: Callable[[], bool],
) -> None:
    """Probe frozen or trivial features: seconds, never interrupted."""
    fold = study.data.fold(unit.fold)
    if unit.kind == 'trivial':
        record['scores'] = trivial_scores(cfg, fold)
    else:
        init = cfg.model.backbone.init_cfg
        record['scores'] = probe_scores(
            cfg,
            init and init.checkpoint,
            fold,
            seed=unit.seed,
            device=study.device,
        )
    record['finished'] = True


def _train(
    study: Study,
    unit: Unit,
    cfg: Config,
    record: Record,
    tell: Tell,
    asked: Callable[[], bool],
) -> None:
    """Train, or go on; then what the kind of unit asks for."""
    folder = study.folder(unit)
    resumed = copy.deepcopy(cfg)
    # Logs, memories and drawings of mmengine are found by this name.
    resumed.experiment_name = unit.file_name
    checkpoint = newest_checkpoint(folder)
    if checkpoint is not None:
        set_resume(resumed, str(checkpoint))
    runner = build_runner(resumed)
    stop = StopAtDeadline(study.stop_at, asked=asked)
    gpu = current_gpu() if study.device == 'cuda' else None
    watch = Stopwatch(gpu, tell=tell)
    runner.register_hook(stop)
    runner.register_hook(watch)
    try:
        runner.train()
    finally:
        watch.close()
    _measure(record, cfg, runner, watch)
    if stop.stopped:
        remove_checkpoints(folder, keep=2)
        return
    if unit.pretrains:
        _finish_pretraining(study, unit, cfg, record)
    else:
        fold = study.data.fold(unit.fold)
        record['scores'] = {'finetune': finetuned_score(runner, fold)}
    record['finished'] = True


def _measure(
    record: Record, cfg: Config, runner: Runner, watch: Stopwatch
) -> None:
    record['steps'] = runner.iter
    record['clips'] = runner.iter * cfg.train_dataloader.batch_size
    record['seconds'] = watch.seconds
    record['gpu_busy'] = watch.busy.share
    record['steps_per_second'] = steps_per_second(runner)


def _finish_pretraining(
    study: Study, unit: Unit, cfg: Config, record: Record
) -> None:
    """Keep the weights alone; curves, diagnosis and a picture."""
    folder, weights = study.folder(unit), study.weights(unit)
    state = read_state_dict(newest_checkpoint(folder))
    with atomic(weights) as draft:
        torch.save({'state_dict': state}, draft)
    record['curves'] = _curves(folder)
    record['diagnosis'] = read_records(folder / RECORDS)[-1]
    picture = study.home / 'pictures' / f'{unit.file_name}.png'
    clip = free_clip(study.home / 'free_clips')
    save_reconstruction(cfg, weights, clip, picture)


def _curves(folder: Any) -> dict[str, dict[str, list[float]]]:
    """Loss of every area relative to predicting its mean."""
    series = read_scalars(folder)
    return {
        name.removesuffix(_RATIO): {
            'step': list(values),
            'relative': list(values.values()),
        }
        for name, values in series.items()
        if name.endswith(_RATIO)
    }


def _clean_up(study: Study) -> None:
    """Leave nothing of a unit to the next one in this process."""
    for logger in MMLogger._instance_dict.values():
        for handler in list(logger.handlers):
            handler.close()
            logger.removeHandler(handler)
    for kind in (MMLogger, MessageHub, Visualizer, DefaultScope):
        kind._instance_dict.clear()
    gc.collect()
    if study.device == 'cuda':
        torch.cuda.empty_cache()
    if study.compile:
        # Else units past the eighth would run uncompiled: dynamo's limit of
        # versions of a function. What was compiled is found on disk.
        torch.compiler.reset()
