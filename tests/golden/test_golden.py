"""The gate: numbers, configs, keys and bytes that a refactoring must keep.

How the golden values are made anew is said in ``golden.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from projects.paper_tables.tables import flatten
from tests.golden import golden

STRUCTURE = golden.stored_structure()
NUMBERS = golden.stored_numbers()
# From one CPU to another, sums are taken in another order.
LOSS_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 2e-3


@pytest.fixture(autouse=True)
def _as_written(one_thread, monkeypatch) -> Iterator[None]:
    """The environment in which the golden values were made."""
    monkeypatch.delenv('BIMM_DATA', raising=False)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def _ids(path: Path) -> str:
    return path.stem


def _changes(found: Any, stored: Any) -> str:
    """Every leaf that differs, as a line to read."""
    one, other = flatten(found), flatten(stored)
    pairs = {k: (other.get(k), one.get(k)) for k in sorted(one | other)}
    lines = [f'{k}: {a!r} -> {b!r}' for k, (a, b) in pairs.items() if a != b]
    return '\n'.join(lines)


def test_golden_values_are_of_todays_configs():
    leaves = sorted(map(str, golden.leaf_configs()))
    assert sorted(NUMBERS['configs']) == leaves
    trained = sorted(map(str, golden.pretraining_configs()))
    assert sorted(NUMBERS['steps']) == trained
    assert sorted(STRUCTURE['keys']) == trained


@pytest.mark.parametrize('path', map(Path, NUMBERS['configs']), ids=_ids)
def test_resolved_config(path):
    found = golden.resolved(path)
    stored = STRUCTURE['configs'][str(path)]
    assert found == stored, _changes(found, stored)
    assert golden.digest(found) == NUMBERS['configs'][str(path)]


@pytest.mark.parametrize('path', map(Path, NUMBERS['steps']), ids=_ids)
def test_losses_gradients_and_keys(path):
    model = golden.toy_model(path)
    keys, known = golden.keys_and_shapes(model), STRUCTURE['keys'][str(path)]
    assert keys == known, _changes(keys, known)
    step, stored = (
        golden.losses_and_gradients(model),
        NUMBERS['steps'][str(path)],
    )
    assert step['losses'] == pytest.approx(stored['losses'], LOSS_TOLERANCE)
    assert step['gradients'] == pytest.approx(
        stored['gradients'], GRADIENT_TOLERANCE
    )


def test_bytes_of_a_contour_file():
    assert golden.contour_file() == NUMBERS['contour_file']
