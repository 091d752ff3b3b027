"""What every contour detector shares, and how one is built by name.

Shapes: N frames of H x W pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from inspect import signature
from typing import Any

from torch import Tensor

from bimm_mm.registry import DETECTORS
from bimm_mm.utils.device import find_device
from bimm_mm.utils.safe_load import checkpoint_file


class Detector(ABC):
    """Contour strength of pictures, computed and returned on one device.

    The arguments of a subclass' constructor are keyword-only: ``device``,
    ``weights`` if it needs a file, and its options, all with defaults.
    ``thinned`` says that lines are already one pixel wide, so that they are
    not thinned again. ``hint`` says which file ``weights`` is.
    """

    thinned: bool = False
    hint: str = 'a file'

    def __init__(self, *, device: str = 'cpu') -> None:
        self.device = find_device(device)

    @abstractmethod
    def detect(self, frames: Tensor) -> Tensor:
        """Find contour strength (N, H, W) fp32 in [0, 1], without gradient.

        ``frames`` are (N, 3, H, W) uint8 RGB, on any device; the result is on
        the detector's.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return all that changes the result, for JSON.

        ``detector``, the options and, with weights, ``weights``: the SHA-256
        of the file. No path and no device.
        """


def build_detector(
    name: str,
    *,
    weights: str | None = None,
    device: str = 'cpu',
    options: Mapping[str, Any] | None = None,
) -> Detector:
    """Build a detector, if its name, options and file of weights are right.

    Args:
        name: A name in ``DETECTORS``, or the dotted path of a
            :class:`Detector` class such as ``'my_package.MyDetector'``.
        weights: Its file of weights, if it needs one.
        device: Where it computes.
        options: Its other arguments.
    """
    detector = DETECTORS.get(name)
    if not (isinstance(detector, type) and issubclass(detector, Detector)):
        raise ValueError(
            f'detector {name!r} is unknown, choose one of '
            f'{sorted(DETECTORS.module_dict)} or the dotted path of a class '
            'of your own, derived from bimm_mm.contours.detectors.Detector'
        )
    known = set(signature(detector).parameters) - {'device'}
    given = dict(options or {})
    if weights is not None:
        given['weights'] = weights
    if unknown := sorted(given.keys() - known):
        raise ValueError(
            f'detector {name!r} has no option {unknown[0]!r}, it has '
            f'{sorted(known) or "none"}'
        )
    if 'weights' in known and weights is None:
        raise ValueError(f'detector {name!r} needs weights, {detector.hint}')
    if weights is not None:
        checkpoint_file(weights, remedy=f'Expected is {detector.hint}')
    return detector(device=device, **given)
