"""Randomness that is a function of the step."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from bimm_mm.registry import HOOKS

_STREAMS = ('train', 'val', 'test')


def step_seed(seed: int, rank: int, stream: int, step: int) -> int:
    """Mix seed of the run, rank, stream and step into a seed in [0, 2**63).

    Adding them would give rank 1 at step 4 the numbers of rank 0 at step 5;
    NumPy's seed sequence hashes them instead.
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

    def _before_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        mode: str = 'train',
    ) -> None:
        """Seed from the run's iteration, or a validation's batch."""
        step = runner.iter if mode == 'train' else batch_idx
        stream = _STREAMS.index(mode)
        seed = step_seed(runner.seed, runner.rank, stream, step)
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
