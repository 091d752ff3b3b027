"""Random numbers of a sample: the same in every run that loads it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

# States of the global generators of Python, NumPy and torch (CPU).
RandomState = tuple[Any, Any, torch.Tensor]


class SampleKey(NamedTuple):
    """What a sampler asks a dataset for instead of a bare index.

    A sample and its augmentations are a function of these three numbers.
    """

    sample: int  # index in the dataset
    epoch: int  # in which the sample is loaded
    seed: int  # of the sampler, the same on all ranks


def get_random_state() -> RandomState:
    """States of the generators of Python, NumPy and torch (CPU)."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def set_random_state(state: RandomState) -> None:
    """Rewind all three generators; see :func:`get_random_state`."""
    python, numpy, pytorch = state
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(pytorch)


@contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Seed torch on the CPU, for random weights that are no part of a run.

    They are the same on every rank and in a resumed run, and the run's own
    numbers go on untouched, also those of a GPU.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def seeded(*entropy: int) -> Iterator[None]:
    """Seed Python, NumPy and torch (CPU); restore all three afterwards.

    Transforms of the libraries draw from all three global generators. They
    are restored because without workers the model draws from them too.

    Args:
        entropy: Numbers that name the purpose, such as seed, epoch and index
            of a sample. They are hashed, not added: epoch 1 of seed 0 is not
            epoch 0 of seed 1.
    """
    before = get_random_state()
    sequence = np.random.SeedSequence(entropy)
    python, numpy, pytorch = sequence.generate_state(3).tolist()
    random.seed(python)
    np.random.seed(numpy)
    # torch.manual_seed would seed the accelerators as well.
    torch.default_generator.manual_seed(pytorch)
    try:
        yield
    finally:
        set_random_state(before)
