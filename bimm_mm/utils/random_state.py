"""Look at a model in training and leave no trace."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def undisturbed(model: nn.Module, seed: int) -> Iterator[None]:
    """Seed all random numbers, evaluate; put everything back after.

    Inside, the model is in evaluation mode: no drop path, and batch norms
    keep their statistics. Gradients are recorded, but nobody may call
    ``backward``, which would write into ``.grad``; ``torch.autograd.grad``
    does not.

    Args:
        model (nn.Module): The model, on one device.
        seed (int): At least 0.
    """
    training = [(module, module.training) for module in model.modules()]
    python, numpy = random.getstate(), np.random.get_state()
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
            for module, mode in training:
                module.training = mode
            np.random.set_state(numpy)
            random.setstate(python)
