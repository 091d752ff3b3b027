"""Estimates: what is drawn, how it is scaled, how sure it is."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from bimm_mm.contours.estimate import Amount, estimate
from bimm_mm.contours.extractor import Extractor
from bimm_mm.contours.format import write_contours
from bimm_mm.contours.report import Report
from bimm_mm.contours.summary import estimate_text
from bimm_mm.contours.units import Unit, find_units


def test_error_is_that_of_drawing_without_putting_back():
    """Over all draws of 3 of 5 it is the true deviation of the total."""
    whole = [1.0, 4.0, 4.0, 10.0, 30.0]
    draws = [Amount.of(d, 5) for d in itertools.combinations(whole, 3)]
    totals = [amount.value for amount in draws]
    assert np.mean(totals) == pytest.approx(sum(whole))
    variances = [amount.error**2 for amount in draws]
    assert np.mean(variances) == pytest.approx(np.var(totals))


def test_everything_measured_is_sure_and_one_unit_is_not():
    assert Amount.of([2.0, 3.0], 2) == Amount(5.0, 0.0)
    alone = Amount.of([2.0], 7)
    assert alone.value == 14 and math.isnan(alone.error)


def test_real_units_as_they_come(make_plan, media):
    """All are drawn but the first, which warms up."""
    plan = make_plan(stride=4)
    units = find_units(str(media), folder='signs')
    found = estimate(plan.build('cpu'), units, seconds=60, threads=2)
    assert (found.files, found.units, found.drawn) == (3, 3, 2)
    # 47, 49 and 47 frames.
    assert found.frames.value in (36, 37.5)
    # Two of three, 4 of 12 or 13 key frames of each: a batch before the
    # speed is known.
    assert found.measured.frames == 8
    whole = found.wall * 3 / 2 * 12.5 / 4
    assert found.seconds.value == pytest.approx(whole, rel=0.2)
    size = found.measured.bytes / found.measured.frames * found.frames.value
    assert found.bytes.value == pytest.approx(size, rel=0.2)
    text = estimate_text(found, worker='cuda:0 with 2 threads', finished=4)
    assert 'dry run: 2 of 3 units' in text
    assert 'to do: 3 files, 4 are finished' in text
    assert 'GPU-hours: ' in text and ' on 8' in text


class _Clock:
    """Extracts nothing; a key frame of a video costs its own time."""

    def __init__(self, extractor: Extractor, costs: dict[str, float]) -> None:
        self.now, self._extractor, self._costs = 0.0, extractor, costs
        self.calls: list[tuple[str, int]] = []

    def extract(self, unit: Unit, *, limit: int) -> Report:
        cost = self._costs[unit.paths[0]]
        frames = 1000 if unit.video else len(unit.paths)
        done = min(frames, limit)
        self.calls.append((unit.paths[0], done))
        self.now += done * cost
        if unit.video:
            plan = self._extractor.plan
            write_contours(
                plan.place(unit.paths[0]),
                [np.zeros((4, 4), np.uint8)],
                [0],
                settings=self._extractor.manifest.settings,
                source={'frame_count': frames * plan.stride},
            )
        return Report(files=1, frames=done, bytes=10 * done)


def test_long_videos_of_all_kinds_are_scaled_by_unit(
    make_plan, media, monkeypatch
):
    """Slow and fast videos, 1000 key frames each, in virtual time."""
    plan = make_plan()
    extractor = plan.build('cpu')
    paths = [str(media / f'{i}.mp4') for i in range(60)]
    costs = {path: 0.01 if i % 2 else 0.05 for i, path in enumerate(paths)}
    clock = _Clock(extractor, costs)
    monkeypatch.setattr(extractor, 'extract', clock.extract)
    monkeypatch.setattr(
        'bimm_mm.contours.estimate.time.monotonic', lambda: clock.now
    )
    units = [Unit((path,), video=True) for path in paths]
    found = estimate(extractor, units, seconds=60, threads=1)
    assert found.frames == Amount(60_000, 0)
    assert found.bytes.value == pytest.approx(600_000)
    assert 5 <= found.drawn < 60
    assert 60 <= found.wall <= 100
    true = 30 * 1000 * 0.01 + 30 * 1000 * 0.05
    assert abs(found.seconds.value - true) < 3 * found.seconds.error
    assert 0 < found.seconds.error < 0.5 * true
    drawn = [path for path, _ in clock.calls]
    assert len(set(drawn)) == len(drawn)
    assert drawn != paths[: len(drawn)]
    again = _Clock(extractor, costs)
    monkeypatch.setattr(extractor, 'extract', again.extract)
    monkeypatch.setattr(
        'bimm_mm.contours.estimate.time.monotonic', lambda: again.now
    )
    estimate(extractor, units, seconds=60, threads=1)
    assert again.calls == clock.calls


def test_images_are_scaled_to_their_unit(make_plan, media, monkeypatch):
    extractor = make_plan(batch=4).build('cpu')
    units = [
        Unit(tuple(f'{media}/{u}_{i}.png' for i in range(32)), video=False)
        for u in range(20)
    ]
    clock = _Clock(extractor, {unit.paths[0]: 1.0 for unit in units})
    monkeypatch.setattr(extractor, 'extract', clock.extract)
    monkeypatch.setattr(
        'bimm_mm.contours.estimate.time.monotonic', lambda: clock.now
    )
    found = estimate(extractor, units, seconds=50, threads=1)
    assert {done for _, done in clock.calls} == {4, 5}
    assert found.files == 640
    assert found.frames.value == pytest.approx(640)
    assert found.seconds.value == pytest.approx(640)


def test_nothing_can_be_read(make_plan, media):
    for path in (media / 'signs').iterdir():
        path.write_text('no video')
    units = find_units(str(media), folder='signs')
    plan = make_plan()
    with pytest.raises(ValueError, match=r'none of 2 files drawn can be read'):
        estimate(plan.build('cpu'), units, seconds=1)
    assert not Path(plan.contour_root).exists()
