from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from studies.mini.stopwatch import steps_per_second
from studies.mini.timing import check_alike, hardware, scaled_steps


def record(steps: int, rate: float | None, **changes: object) -> dict:
    return {
        'id': 'a/b',
        'steps': steps,
        'steps_per_second': rate,
        'hardware': hardware(),
        'jobs': 1,
        'compile': False,
    } | changes


def test_the_reference_gets_its_own_steps() -> None:
    assert scaled_steps(record(4000, 8), [record(4000, 8)]) == [4000]


def test_both_stages_together_take_the_references_time() -> None:
    reference = record(4000, 8)  # 500 s
    stages = [record(4000, 40), record(4000, 4)]  # 100 s and 1000 s
    ventral, joint = scaled_steps(reference, stages)
    assert 499 < ventral / 40 + joint / 4 <= 500
    # Scaled alike, up to a step.
    assert abs(ventral - joint) <= 1


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'jobs': 4}, r'a/b ran with jobs=4 and this call runs with jobs=1'),
        ({'compile': True}, r'compile=True'),
        ({'hardware': {'device': 'another GPU'}}, r'another GPU'),
        ({'steps_per_second': None}, r'at least 10 steps'),
    ],
)
def test_times_of_other_circumstances_are_refused(
    changes: dict, message: str
) -> None:
    good = record(10, 2.0)
    check_alike([good], jobs=1, compile=False)
    with pytest.raises(ValueError, match=message):
        check_alike([good, good | changes], jobs=1, compile=False)


def test_the_speed_passes_over_what_is_rare() -> None:
    times = torch.full((40,), 0.5)
    times[3] = 60.0  # compilation
    buffer = SimpleNamespace(data=(times.numpy(), None))
    hub = SimpleNamespace(log_scalars={'train/time': buffer})
    runner = SimpleNamespace(message_hub=hub)
    assert steps_per_second(runner) == pytest.approx(2.0)
    buffer.data = (times[:9].numpy(), None)
    assert steps_per_second(runner) is None
    hub.log_scalars = {}
    assert steps_per_second(runner) is None
