"""Randomness that is a function of the step."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from bimm_mm.registry import HOOKS

_TRAIN, _VAL, _TEST = range(3)


def step_seed(seed: int, rank: int, stream: int, step: int) -> int:
    """Mix four non-negative numbers into one seed.

    Adding them would give rank 1 at step 4 the numbers of rank 0 at step 5;
    NumPy's seed sequence hashes them instead.

    Args:
        seed: Seed of the run.
        rank: Rank of the process.
        stream: Training, validation or test.
        step: Iteration, or index of the batch.

    Returns:
        A seed in [0, 2**63).
    """
    sequence = np.random.SeedSequence([seed, rank, stream, step])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Seeds all random numbers of a step from run, rank and step.

    Masks, the frame that the ventral branch sees, drop path and the choice
    of mixup or cutmix (mmaction2 draws it with NumPy) are then the same
    whether a run was interrupted or not, and every validation uses the
    same masks, so that its curve shows the model and not the draw. Ranks
    draw differently, with or without ``diff_rank_seed``.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
    ) -> None:
        """Seed from the iteration of the whole run."""
        self._seed(runner, _TRAIN, runner.iter)

    def before_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | Sequence | None = None,
    ) -> None:
        """Seed from the batch's place in the validation set."""
        self._seed(runner, _VAL, batch_idx)

    def before_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | Sequence | None = None,
    ) -> None:
        """Seed from the batch's place in the test set."""
        self._seed(runner, _TEST, batch_idx)

    def _seed(self, runner: Runner, stream: int, step: int) -> None:
        seed = step_seed(runner.seed, runner.rank, stream, step)
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
