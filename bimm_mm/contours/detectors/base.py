"""What every contour detector shares, and how one is built by name.

Shapes: N frames of H x W pixels.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from bimm_mm.registry import DETECTORS


class Detector(ABC):
    """Contour strength of pictures, on one device.

    The arguments of a subclass' constructor are keyword-only: ``device``,
    ``weights`` if it needs a file, and its options, all with defaults.
    ``thinned`` says that lines are already one pixel wide, so that packing
    does not thin them. ``hint`` says which file ``weights`` is.

    Args:
        device (str): Where contours are computed and returned.

    Raises:
        ValueError: If there is no such device.
    """

    thinned: bool = False
    hint: str = ''

    def __init__(self, *, device: str = 'cpu') -> None:
        self.device = _device(device)

    @abstractmethod
    def detect(self, frames: Tensor) -> Tensor:
        """Contour strength, computed without gradient.

        Args:
            frames (Tensor): (N, 3, H, W) uint8 RGB, on any device.

        Returns:
            Tensor: (N, H, W) fp32 in [0, 1], on the detector's device.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """All that changes the result, for JSON.

        Returns:
            dict: ``detector``, the options and, with weights, ``weights``:
            the SHA-256 of the file. No path and no device.
        """


def build_detector(
    name: str,
    *,
    weights: str | None = None,
    device: str = 'cpu',
    options: Mapping[str, Any] | None = None,
) -> Detector:
    """Build a detector by name.

    Args:
        name (str): A name in ``DETECTORS``, or the dotted path of a
            :class:`Detector` class such as ``'my_package.MyDetector'``.
        weights (str, optional): Its file of weights, if it needs one.
        device (str): Where it computes. Defaults to ``'cpu'``.
        options (Mapping, optional): Its other arguments.

    Returns:
        Detector: Ready to use.

    Raises:
        ValueError: If the name or an option is unknown or wrong, or weights
            are missing or not needed.
        FileNotFoundError: If there is no file of weights.
        ImportError: If a package that it needs is not installed.
    """
    detector = _find(name)
    known = set(signature(detector).parameters) - {'device'}
    given = dict(options or {})
    _check_weights(name, detector, weights, needed='weights' in known)
    if weights is not None:
        given['weights'] = os.fspath(weights)
    known -= {'weights'}
    unknown = sorted(set(options or {}) - known)
    if unknown:
        raise ValueError(
            f'detector {name!r} has no option {unknown[0]!r}, it has '
            f'{sorted(known) or "none"}'
        )
    return detector(device=device, **given)


def _find(name: str) -> type[Detector]:
    found = DETECTORS.get(name)
    if isinstance(found, type) and issubclass(found, Detector):
        return found
    raise ValueError(
        f'detector {name!r} is unknown, choose one of '
        f'{sorted(DETECTORS.module_dict)} or the dotted path of a class of '
        'your own, derived from bimm_mm.contours.detectors.Detector'
    )


def _check_weights(
    name: str, detector: type[Detector], weights: str | None, *, needed: bool
) -> None:
    if needed and weights is None:
        raise ValueError(
            f'detector {name!r} needs weights, the path of a file'
            + (f': {detector.hint}' if detector.hint else '')
        )
    if not needed and weights is not None:
        raise ValueError(
            f'detector {name!r} has no weights, but {weights!r} was given: '
            'leave it out'
        )


def _device(name: str) -> torch.device:
    """The device, if it is there."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"device {name!r} is unknown: use 'cpu' or 'cuda:0'"
        ) from error
    if device.type != 'cuda':
        return device
    count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise ValueError(
            f'device {name!r} is not there: PyTorch sees {count} CUDA devices'
        )
    return device
