"""Edges: Sobel's on the device; Canny's and structured ones by OpenCV.

Shapes: N frames of H x W pixels.
"""

from __future__ import annotations

import subprocess
import sys
from abc import abstractmethod
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from bimm_mm.contours.detectors.base import Detector
from bimm_mm.registry import DETECTORS
from bimm_mm.structures import ClipBatch
from bimm_mm.targets.base import luma
from bimm_mm.targets.contour import sobel_edges
from bimm_mm.utils.files import sha256_of_file

# Gray levels of the strongest gradient: Sobel's kernels at a corner.
_STRONGEST = 4 * 255 * 2**0.5
_SECONDS = 300.0  # for trying a forest
_TRIAL = """
import sys
import cv2
import numpy as np
model = cv2.ximgproc.createStructuredEdgeDetection(sys.argv[1])
noise = np.random.default_rng(0).random((128, 128, 3), np.float32)
model.detectEdges(noise)
model.detectEdges(cv2.GaussianBlur(noise, (0, 0), 4))
"""


@DETECTORS.register_module('sobel')
class SobelDetector(Detector):
    """Edges of ``ContourTarget(source='sobel')``, of the same pixels."""

    @torch.no_grad()
    def detect(self, frames: Tensor) -> Tensor:
        """See :meth:`Detector.detect`; H, W > 1."""
        # (N, 3, H, W) -> (N, 3, 1, H, W): clips of one frame.
        pixels = frames.to(self.device).float().div_(255)[:, :, None]
        return sobel_edges(luma(ClipBatch(pixels, pixels)))[:, 0, 0]

    def settings(self) -> dict[str, Any]:
        """See :meth:`Detector.settings`."""
        return {'detector': 'sobel'}


class OpenCVDetector(Detector):
    """On the CPU, one frame after the other; moves the result to a device."""

    def detect(self, frames: Tensor) -> Tensor:
        """See :meth:`Detector.detect`."""
        pictures = frames.cpu().movedim(1, -1).contiguous().numpy()
        edges = np.stack([self.edges(picture) for picture in pictures])
        return torch.from_numpy(edges).to(self.device).clamp_(0, 1)

    @abstractmethod
    def edges(self, picture: np.ndarray) -> np.ndarray:
        """Edges (H, W) fp32 of a picture (H, W, 3) uint8 RGB."""


@DETECTORS.register_module('canny')
class CannyDetector(OpenCVDetector):
    """Edges of ``cv2.Canny(..., L2gradient=True)``.

    Edges lie between 7/8 and 1 and rise with the gradient, all else is 0:
    few gray levels make all of them white, but where there are too many for
    the density, the weaker ones are dropped.

    Args:
        low: Gradients of lines must exceed this, in gray levels by Sobel's
            kernels (a step of height s has 4 s).
        high: Somewhere on the line they must exceed this, at least ``low``.
        sigma: Standard deviation of the Gaussian before, in pixels; 0 for
            none.
        device: Where the result is moved.
    """

    thinned = True

    def __init__(
        self,
        *,
        low: float = 50,
        high: float = 100,
        sigma: float = 1.0,
        device: str = 'cpu',
    ) -> None:
        super().__init__(device=device)
        # OpenCV would swap them.
        if not 0 <= low <= high:
            raise ValueError(
                f'canny: low={low} and high={high}: give 0 <= low <= high'
            )
        self.options = {'low': low, 'high': high, 'sigma': sigma}

    def edges(self, picture: np.ndarray) -> np.ndarray:
        """See :meth:`OpenCVDetector.edges`."""
        low, high, sigma = (self.options[k] for k in ('low', 'high', 'sigma'))
        gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        edge = cv2.BORDER_REPLICATE
        if sigma > 0:
            gray = cv2.GaussianBlur(gray, (0, 0), sigma, borderType=edge)
        dx = cv2.Sobel(gray, cv2.CV_16S, 1, 0, borderType=edge)
        dy = cv2.Sobel(gray, cv2.CV_16S, 0, 1, borderType=edge)
        found = cv2.Canny(dx, dy, low, high, L2gradient=True) > 0
        gradient = np.hypot(dx, dy, dtype=np.float32) / _STRONGEST
        return found * (7 / 8 + gradient / 8)

    def settings(self) -> dict[str, Any]:
        """See :meth:`Detector.settings`."""
        return {'detector': 'canny', **self.options}


@DETECTORS.register_module('structured')
class StructuredDetector(OpenCVDetector):
    """Edges of structured forests (Dollar and Zitnick), by ``cv2.ximgproc``.

    Strengths are the forest's votes, as they are; at most 1.

    Args:
        weights: Path of the forest, see ``hint``.
        nms: Thin lines by OpenCV's ``edgesNms`` (radius 2), in place of the
            thinning of :class:`~bimm_mm.contours.compression.Compression`.
        device: Where the result is moved.
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
        # In a process of its own: on a broken file OpenCV does not raise but
        # divides by zero or reads beyond its arrays, which ends the process.
        command = [sys.executable, '-c', _TRIAL, weights]
        try:
            trial = subprocess.run(
                command, capture_output=True, text=True, timeout=_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise ValueError(
                f'OpenCV took more than {_SECONDS} s to try {weights}: fetch '
                f'{self.hint}, again, or wait until this machine is less busy'
            ) from None
        if trial.returncode:
            said = trial.stderr.strip().splitlines() or ['OpenCV crashed']
            raise ValueError(
                f'{weights} is no forest of structured edge detection: '
                f'{said[-1]}. Expected is {self.hint}; fetch it again'
            )
        self._hash = sha256_of_file(weights)
        self._forest = cv2.ximgproc.createStructuredEdgeDetection(weights)
        self.nms = nms
        self.thinned = nms

    def edges(self, picture: np.ndarray) -> np.ndarray:
        """See :meth:`OpenCVDetector.edges`."""
        edges = self._forest.detectEdges(picture.astype(np.float32) / 255)
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
