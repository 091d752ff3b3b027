"""Structured forests (Dollar and Zitnick) by OpenCV, on the CPU.

Shapes: N frames of H x W pixels.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from bimm_mm.contours.detectors.base import Detector
from bimm_mm.registry import DETECTORS
from bimm_mm.utils.files import sha256_of_file

_TRIAL = """
import sys
import cv2
import numpy as np
model = cv2.ximgproc.createStructuredEdgeDetection(sys.argv[1])
noise = np.random.default_rng(0).random((128, 128, 3), np.float32)
model.detectEdges(noise)
model.detectEdges(cv2.GaussianBlur(noise, (0, 0), 4))
"""


@DETECTORS.register_module('structured')
class StructuredDetector(Detector):
    """Edges of structured forests, by ``cv2.ximgproc``.

    OpenCV computes them on the CPU, one frame after the other, with its own
    threads. Strengths are the forest's votes, as they are; at most 1.

    Args:
        weights: Path of the forest, see ``hint``.
        nms: Thin lines by OpenCV's ``edgesNms`` (radius 2), in place of the
            thinning of :class:`~bimm_mm.contours.Compression`.
        device: Where the result is moved.

    Raises:
        ValueError: If the file is no such forest.
        ImportError: If OpenCV lacks ``ximgproc``.
    """

    hint = (
        "model.yml.gz of OpenCV's structured edge detection, in opencv_extra "
        'under testdata/cv/ximgproc'
    )

    def __init__(
        self, *, weights: str, nms: bool = False, device: str = 'cpu'
    ) -> None:
        super().__init__(device=device)
        if not hasattr(cv2, 'ximgproc'):
            raise ImportError(
                'OpenCV has no ximgproc here: install '
                f'opencv-contrib-python-headless {cv2.__version__} in place '
                'of opencv-python-headless'
            )
        self._hash = sha256_of_file(weights)
        _try(weights)
        self._forest = cv2.ximgproc.createStructuredEdgeDetection(weights)
        self.nms = nms
        self.thinned = nms

    def detect(self, frames: Tensor) -> Tensor:
        """See :meth:`Detector.detect`."""
        pictures = frames.cpu().movedim(1, -1).numpy()
        edges = np.stack([self._edges(picture) for picture in pictures])
        return torch.from_numpy(edges).to(self.device).clamp_(0, 1)

    def _edges(self, picture: np.ndarray) -> np.ndarray:
        """Of one picture (H, W, 3) uint8 RGB."""
        scaled = np.ascontiguousarray(picture, np.float32) / 255
        edges = self._forest.detectEdges(scaled)
        if self.nms:
            directions = self._forest.computeOrientation(edges)
            edges = self._forest.edgesNms(edges, directions)
        return edges

    def settings(self) -> dict[str, Any]:
        """See :meth:`Detector.settings`."""
        return {
            'detector': 'structured',
            'nms': self.nms,
            'weights': self._hash,
        }


def _try(path: str) -> None:
    """Load a forest and use it, in a process of its own.

    On a broken file OpenCV does not raise but divides by zero or reads
    beyond its arrays, which ends the process.
    """
    command = [sys.executable, '-c', _TRIAL, path]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if run.returncode:
        reason = (run.stderr.strip().splitlines() or ['OpenCV crashed'])[-1]
        raise ValueError(
            f'{path} is no forest of structured edge detection: {reason}. '
            f'Expected is {StructuredDetector.hint}; fetch it again'
        )
