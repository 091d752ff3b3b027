"""Randomness that belongs to a sample, not to the worker that decodes it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from bimm_mm.datasets.sampler import Draw


@contextmanager
def seeded(draw: Draw) -> Iterator[None]:
    """Seed Python, NumPy and torch (CPU) from a draw; restore them after.

    Transforms of the libraries draw from all three global generators. They
    are restored because without workers the model draws from them too.

    Args:
        draw (Draw): The draw.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    # Hashed, not added: epoch 1 of seed 0 is not epoch 0 of seed 1.
    sequence = np.random.SeedSequence([draw.seed, draw.epoch, draw.index])
    python, numpy, pytorch = sequence.generate_state(3).tolist()
    random.seed(python)
    np.random.seed(numpy)
    # torch.manual_seed would seed the accelerators as well.
    torch.default_generator.manual_seed(pytorch)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
