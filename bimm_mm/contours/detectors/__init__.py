"""Contour detectors: one file each, found by name in ``DETECTORS``."""

from . import canny, dexined, sam, sobel, structured  # noqa: F401  registers
from .base import Detector, build_detector
from .weights import load_weights

__all__ = ['Detector', 'build_detector', 'load_weights']
