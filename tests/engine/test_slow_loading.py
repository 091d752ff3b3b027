"""Loading fast: memory of workers is kept; waiting is told once."""

from __future__ import annotations

import resource
import time

import numpy as np
import pytest
from mmengine.hooks import Hook

from bimm_mm.engine import StrictRunner
from bimm_mm.engine.hooks.slow_loading import SlowLoadingHook


class Slow(list):
    """Samples, each of which takes a while; only the first ``slow`` loads."""

    def __init__(self, samples: list, slow: int) -> None:
        super().__init__(samples)
        self.left = slow

    def __getitem__(self, index: int) -> dict:
        self.left -= 1
        if self.left > 0:
            time.sleep(0.003)
        return super().__getitem__(index)


class Busy(Hook):
    """Lets a step take a while, after its batch is there."""

    priority = 'LOW'

    def before_train_iter(self, *args: object, **kwargs: object) -> None:
        time.sleep(0.006)


# 51 steps of two samples, the first 50 of which do not count, or all.
@pytest.mark.parametrize(('slow', 'told'), [(102, 0), (400, 1)])
def test_a_wait_of_a_fifth_is_told_once(
    slow, told, make_runner, samples, request
):
    runner = make_runner(
        samples=Slow(samples, slow),
        epochs=51,
        hooks=[Busy(), SlowLoadingHook()],
        default_hooks=dict(checkpoint=None),
    )
    log = request.getfixturevalue('log')  # of the runner's logger
    runner.train()
    lines = [line for line in log if 'loading takes' in line]
    assert len(lines) == told
    for line in lines:
        assert line.startswith('WARNING')
        for remedy in ('now 0', 'num=4', 'prepare_videos.py', 'doctor'):
            assert remedy in line


class Faults(list):
    """Each sample needs 40 MB for a moment, and says of how many new pages."""

    def __getitem__(self, index: int) -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones(40 * 2**20, np.uint8)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_workers_keep_the_memory_of_frames():
    loader = StrictRunner.build_dataloader(
        dict(
            dataset=Faults(range(3)),
            batch_size=1,
            num_workers=1,
            sampler=dict(type='DefaultSampler', shuffle=False),
        )
    )
    _, *later = (int(faults[0]) for faults in loader)
    assert max(later) < 1000  # of 10,240 pages
