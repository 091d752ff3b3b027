"""Share of time in which the GPU was busy, as nvidia-smi tells it."""

from __future__ import annotations

import functools
import logging
import shutil
import subprocess
import threading
from dataclasses import dataclass

import torch
from mmengine.logging import print_log

_EVERY = 500  # milliseconds


@dataclass(frozen=True)
class Busy:
    """Samples of the GPU's utilisation.

    nvidia-smi's utilisation is the share of the last sample period in which
    at least one kernel ran, whatever part of the GPU it filled.

    Args:
        total (float): Sum of all samples, each in [0, 1]. Defaults to 0.
        count (int): Number of samples. Defaults to 0.
    """

    total: float = 0.0
    count: int = 0

    @property
    def share(self) -> float | None:
        """Mean in [0, 1]; None if nothing was sampled."""
        return self.total / self.count if self.count else None

    def __add__(self, other: Busy) -> Busy:
        return Busy(self.total + other.total, self.count + other.count)


def parse_utilization(line: str) -> float | None:
    """A line of nvidia-smi.

    Args:
        line (str): Such as ``'97'``, ``'97 %'`` or ``'[N/A]'``.

    Returns:
        float, optional: Share in [0, 1]; None if the line has no percentage.
    """
    text = line.strip().removesuffix('%').strip()
    if not text.isdigit() or int(text) > 100:
        return None
    return int(text) / 100


class GpuBusy:
    """Samples the GPU from :meth:`start` to :meth:`stop`.

    Args:
        gpu (str, optional): Id for nvidia-smi. Defaults to None: no GPU is
            used, nothing is sampled.
    """

    def __init__(self, gpu: str | None) -> None:
        self._gpu = gpu
        self._process: subprocess.Popen[str] | None = None
        self._samples: list[float] = []

    def start(self) -> None:
        """Begin; without nvidia-smi say once that nothing is measured."""
        if self._gpu is None or self._process is not None:
            return
        program = shutil.which('nvidia-smi')
        if program is None:
            _say_once()
            return
        # Through a pipe: if this process is killed, the other one ends too.
        self._process = subprocess.Popen(
            [
                program,
                '--query-gpu=utilization.gpu',
                '--format=csv,noheader,nounits',
                f'--id={self._gpu}',
                '-lms',
                str(_EVERY),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def stop(self) -> Busy:
        """End; what was sampled since :meth:`start`.

        Returns:
            Busy: Sum and number of samples.
        """
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._thread.join()
            self._process = None
        busy = Busy(sum(self._samples), len(self._samples))
        self._samples = []
        return busy

    def _read(self) -> None:
        with self._process.stdout as lines:
            for line in lines:
                share = parse_utilization(line)
                if share is not None:
                    self._samples.append(share)


def current_gpu() -> str | None:
    """Id of the GPU in use, for nvidia-smi; None without one."""
    if not torch.cuda.is_available():
        return None
    return f'GPU-{torch.cuda.get_device_properties(0).uuid}'


@functools.cache
def _say_once() -> None:
    print_log(
        'there is no nvidia-smi: how busy the GPU was is not measured',
        'current',
        logging.WARNING,
    )
