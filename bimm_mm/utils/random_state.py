"""Random numbers that belong to a purpose and disturb nobody else's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

# States of the global generators of Python, NumPy and torch (CPU).
RandomState = tuple[Any, Any, torch.Tensor]


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


@contextmanager
def preserve_state(model: nn.Module, seed: int) -> Iterator[None]:
    """Seed all random numbers, evaluate; put everything back afterwards.

    Inside, the model is in evaluation mode: no drop path, and batch norms
    keep their statistics. Gradients are recorded, but nobody may call
    ``backward``, which would write into ``.grad``; ``torch.autograd.grad``
    does not.

    Args:
        model: The model, on one device.
        seed: At least 0.
    """
    modes = [(module, module.training) for module in model.modules()]
    before = get_random_state()
    device = next(model.parameters()).device
    cuda = [device] if device.type == 'cuda' else []
    with torch.random.fork_rng(cuda), torch.enable_grad():
        # torch.manual_seed would seed every accelerator of the machine.
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            set_random_state(before)
