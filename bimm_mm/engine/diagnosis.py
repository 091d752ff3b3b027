"""Why does my area not help? Measurements in training, and a page."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from bimm_mm.datasets import MixedDataset
from bimm_mm.engine.diagnosed_model import unwrap
from bimm_mm.engine.diagnosis_records import append_record, scalars
from bimm_mm.engine.measure import measure_areas, measure_knn, measure_rank
from bimm_mm.engine.nearest import LabelledSet
from bimm_mm.models.pretrainers.bimm import BIMM
from bimm_mm.models.pretrainers.masked_branch import MaskedBranch
from bimm_mm.registry import HOOKS
from bimm_mm.structures import ClipBatch
from bimm_mm.utils.random_state import preserve_state

RECORDS = 'diagnosis.jsonl'
_SPLITS = ('train', 'val')


@HOOKS.register_module()
class DiagnosisHook(Hook):
    """Measures areas and blocks on a fixed batch; writes a page at the end.

    Per area: its loss relative to predicting the target's mean, the norm of
    its gradient at the shared blocks, and the cosine between its gradient and
    every other area's. Per block: the effective rank of its features and, if
    there are labels, k-NN accuracy. Before the first step, every ``interval``
    steps and at the end, always with the same samples, frames and masks,
    without drop path and in fp32.

    The training goes on as if nothing had happened: random state, gradients
    and modes of the modules are as before. With several processes rank 0
    measures on its own replica; the others wait for it at their next step.

    In the work directory: ``diagnosis.jsonl``, a line per measurement;
    ``diagnosis.md`` and ``diagnosis.png``. Curves go to the visualizer below
    ``diagnosis/``.

    Args:
        interval (int): Iterations from one measurement to the next.
        split (str): Whose samples, ``'train'`` or ``'val'``.
            Defaults to ``'train'``.
        batch_size (int): Samples, drawn without replacement; all, if there
            are fewer. Defaults to 8.
        seed (int): Of samples, augmentations, frames and masks.
            Defaults to 0.
        knn (dict, optional): A small labelled set, see :class:`LabelledSet`:
            ``dataset`` and, if wanted, ``k`` and ``batch_size``. Defaults to
            None: k-NN accuracy is not measured, and the page says so.

    Raises:
        ValueError: If an argument is out of range.
    """

    # After validation, curves and checkpoints of the same step.
    priority = 'LOWEST'

    def __init__(
        self,
        interval: int,
        *,
        split: str = 'train',
        batch_size: int = 8,
        seed: int = 0,
        knn: Mapping[str, Any] | None = None,
    ) -> None:
        for name, value, least in (
            ('interval', interval, 1),
            ('batch_size', batch_size, 1),
            ('seed', seed, 0),
        ):
            if value < least:
                raise ValueError(
                    f'bimm_mm.DiagnosisHook: {name}={value} must be at least '
                    f'{least}'
                )
        if split not in _SPLITS:
            raise ValueError(
                f'bimm_mm.DiagnosisHook: split={split!r} is unknown, choose '
                f'from {", ".join(_SPLITS)}'
            )
        self.interval = interval
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.knn = knn
        self._labelled: LabelledSet | None = None
        self._batch: dict[str, Any] | None = None
        self._last = -1

    def before_train(self, runner: Runner) -> None:
        """Check model and data, and measure what has not been trained.

        Raises:
            ValueError: If the model is none of ours, ``knn`` has no labels,
                or there is no validation set to measure on.
        """
        # On every rank, so that all stop.
        model = unwrap(runner.model)
        if self.split == 'val' and runner.val_loop is None:
            raise ValueError(
                "bimm_mm.DiagnosisHook: split='val', but the config has no "
                "val_dataloader: set split='train'"
            )
        if not is_main_process():
            return
        if self.knn is not None:
            self._labelled = LabelledSet(**self.knn)
        with preserve_state(model, self.seed):
            self._batch = self._draw(runner)
        if runner.iter == 0:
            self._measure(runner, 0)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Measure every ``interval`` iterations."""
        if self.every_n_train_iters(runner, self.interval):
            self._measure(runner, runner.iter + 1)

    def after_train(self, runner: Runner) -> None:
        """Measure once more, unless just done, and write the page."""
        if self._last != runner.iter:
            self._measure(runner, runner.iter)
        if is_main_process():
            # matplotlib is not needed before.
            from bimm_mm.engine.diagnosis_page import write_page

            page = write_page(runner.work_dir)
            runner.logger.info(f'diagnosis of the areas: {page}')

    def _measure(self, runner: Runner, step: int) -> None:
        """Measure on rank 0; nothing here may talk to other ranks."""
        self._last = step
        if not is_main_process():
            return
        start = time.perf_counter()
        model = unwrap(runner.model)
        with preserve_state(model, self.seed):
            clips = _stimulus(model, self._batch)
            record = {
                'iter': step,
                'seed': self.seed,
                'split': self.split,
                'samples': len(clips.inputs),
                **measure_areas(model, clips),
                'rank': measure_rank(model, clips),
                'knn': self._measure_knn(model),
            }
        record['seconds'] = time.perf_counter() - start
        append_record(record, Path(runner.work_dir) / RECORDS)
        runner.visualizer.add_scalars(scalars(record), step=step)

    def _measure_knn(self, model: MaskedBranch | BIMM) -> dict | None:
        if self._labelled is None:
            return None
        stimuli: Iterator[ClipBatch] = (
            _stimulus(model, batch) for batch in self._labelled.batches()
        )
        return measure_knn(model, self._labelled, stimuli)

    def _draw(self, runner: Runner) -> dict[str, Any]:
        """The fixed samples, on the CPU as the loader would give them."""
        loop = runner.train_loop if self.split == 'train' else runner.val_loop
        # Not through the loader: a second pass over one with persistent
        # workers would spoil the first.
        dataset = loop.dataloader.dataset
        order = torch.randperm(len(dataset)).tolist()
        if isinstance(dataset, MixedDataset):
            # Images and clips do not stack: all are of the first one's kind.
            part = dataset.part_of(order[0])
            order = [i for i in order if dataset.part_of(i) == part]
        chosen = order[: self.batch_size]
        return loop.dataloader.collate_fn([dataset[i] for i in chosen])


def _stimulus(model: MaskedBranch | BIMM, batch: dict[str, Any]) -> ClipBatch:
    """What the model sees of a batch, on its device."""
    return model.data_preprocessor(batch, False)['inputs']
