"""Random numbers of a purpose: the same again, and gone afterwards."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from bimm_mm.datasets.samplers import seeded


def _numbers() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def _numbers_of(*entropy: int) -> tuple[float, float, float]:
    with seeded(*entropy):
        return _numbers()


def test_same_numbers_of_same_numbers():
    assert _numbers_of(1, 2, 3) == _numbers_of(1, 2, 3)


@pytest.mark.parametrize('other', [(2, 2, 3), (1, 3, 3), (1, 2, 4), (3, 2, 1)])
def test_every_field_and_generator_counts(other):
    pairs = zip(_numbers_of(1, 2, 3), _numbers_of(*other), strict=True)
    assert all(one != another for one, another in pairs)


@pytest.mark.parametrize('fails', [False, True])
def test_generators_go_on_as_before(fails):
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = _numbers()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    try:
        with seeded(0, 0, 0):
            _numbers()
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    assert _numbers() == expected
