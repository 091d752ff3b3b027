"""How long a whole dataset will take, from some of it.

Videos differ in length, size and content, so that units are drawn at random
and counted as units: N times the mean of those drawn, with its standard
error.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

from bimm_mm.contours.extractor import Extractor
from bimm_mm.contours.format import ContourFile
from bimm_mm.contours.report import Report
from bimm_mm.contours.run import extract_all
from bimm_mm.contours.units import Unit

# A longer video is measured by its first part, for the sake of more videos.
_SHARE = 0.1


@dataclass(frozen=True)
class Amount:
    """An estimated total.

    Args:
        value (float): The estimate.
        error (float): Its standard error; NaN if one unit was measured.
    """

    value: float
    error: float

    @classmethod
    def of(cls, drawn: Sequence[float], count: int) -> Amount:
        """Total of ``count`` units of which some were drawn at random.

        Args:
            drawn (Sequence[float]): Amounts of those drawn, at least one.
            count (int): All units, at least as many.
        """
        value = count * statistics.fmean(drawn)
        if len(drawn) == count:
            return cls(value, 0.0)
        if len(drawn) == 1:
            return cls(value, math.nan)
        spread = statistics.stdev(drawn) / math.sqrt(len(drawn))
        # Drawn without putting back: what was seen is no longer uncertain.
        return cls(value, count * spread * math.sqrt(1 - len(drawn) / count))


@dataclass(frozen=True)
class Estimate:
    """What there is to do, and what it takes.

    Args:
        files (int): Videos and images.
        units (int): Units they make.
        drawn (int): Units that were measured.
        measured (Report): What was done of them.
        wall (float): Seconds that it took.
        frames (Amount): Contours to make.
        seconds (Amount): Of this process.
        bytes (Amount): Of contour files.
    """

    files: int
    units: int
    drawn: int
    measured: Report
    wall: float
    frames: Amount
    seconds: Amount
    bytes: Amount


@dataclass(frozen=True)
class _Sample:
    """One unit: measured seconds, and amounts scaled to the whole unit."""

    seconds: float
    scale: float
    frames: float
    bytes: float


def estimate(
    extractor: Extractor,
    units: Sequence[Unit],
    *,
    seconds: float = 60,
    threads: int | None = None,
    seed: int = 0,
) -> Estimate:
    """Measure units drawn at random for a while.

    Args:
        extractor (Extractor): Writes to a folder of its own, which is empty.
        units (Sequence[Unit]): All that there is to do, at least one.
        seconds (float): How long to measure, roughly. Defaults to 60.
        threads (int, optional): See :func:`run_units`.
        seed (int): Of the draw. Defaults to 0.

    Returns:
        Estimate: Extrapolated to all of ``units``.

    Raises:
        ValueError: If none of the units drawn can be read; or see
            :meth:`Extractor.extract`.
    """
    order = random.Random(seed).sample(units, len(units))
    gauge = _Gauge(extractor, seconds * _SHARE)
    # The first call loads libraries and plans kernels. A lone unit is
    # measured with that.
    if len(order) > 1:
        extractor.extract(gauge.cut(order.pop(0)), limit=gauge.limit)
    start = time.monotonic()
    measured = Report()
    drawing = _until(start + seconds, order)
    for report in extract_all(
        extractor, drawing, threads=threads, extract=gauge.extract
    ):
        measured += report
    wall = time.monotonic() - start
    if not measured.files:
        path, reason = measured.failed[0]
        raise ValueError(
            f'none of {len(measured.failed)} files drawn can be read, such '
            f'as {path}: {reason}'
        )
    # Threads wait for each other: their times add up to more than the wall's.
    share = wall / sum(sample.seconds for sample in gauge.samples)
    return Estimate(
        files=sum(len(unit.paths) for unit in units),
        units=len(units),
        drawn=len(gauge.samples),
        measured=measured,
        wall=wall,
        frames=Amount.of([s.frames for s in gauge.samples], len(units)),
        seconds=Amount.of(
            [share * s.seconds * s.scale for s in gauge.samples], len(units)
        ),
        bytes=Amount.of([s.bytes for s in gauge.samples], len(units)),
    )


def _until(end: float, units: Sequence[Unit]) -> Iterator[Unit]:
    """Units until the time is over, but one at least.

    Those under way then come to their end: leaving them out would favour
    short ones.
    """
    for index, unit in enumerate(units):
        if index and time.monotonic() > end:
            return
        yield unit


class _Gauge:
    """Measures units, long ones by a part that takes about ``seconds``."""

    def __init__(self, extractor: Extractor, seconds: float) -> None:
        self.samples: list[_Sample] = []
        self.limit = extractor.plan.batch
        self._extractor, self._seconds = extractor, seconds
        self._lock = Lock()

    def cut(self, unit: Unit) -> Unit:
        """A unit of fewer images; videos are cut while they are read."""
        if unit.video:
            return unit
        return Unit(unit.paths[: self.limit], video=False)

    def extract(self, unit: Unit) -> Report:
        """Extract a part and note what the whole would take."""
        start = time.monotonic()
        part = self.cut(unit)
        report = self._extractor.extract(part, limit=self.limit)
        seconds = time.monotonic() - start
        if unit.video:
            frames = self._key_frames(unit.paths[0]) if report.files else 0
            scale = frames / report.frames if frames else 1.0
        else:
            scale = len(unit.paths) / len(part.paths)
            frames = scale * report.frames
        sample = _Sample(seconds, scale, frames, scale * report.bytes)
        with self._lock:
            self.samples.append(sample)
            rate = report.frames / max(seconds, 1e-6)
            batch = self._extractor.plan.batch
            self.limit = max(batch, math.ceil(rate * self._seconds))
        return report

    def _key_frames(self, path: str) -> int:
        plan = self._extractor.plan
        with ContourFile(plan.place(path)) as file:
            return math.ceil(file.source['frame_count'] / plan.stride)
