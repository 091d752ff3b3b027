"""Contour detectors: one file each, found by name in ``DETECTORS``."""

from bimm_mm.contours.detectors import canny, dexined, sam, sobel, structured  # noqa: F401  registers
from bimm_mm.contours.detectors.base import Detector, build_detector
from bimm_mm.contours.detectors.weights import load_weights

__all__ = ['Detector', 'build_detector', 'load_weights']
