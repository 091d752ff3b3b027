"""Contour detectors: one file each, found by name in ``DETECTORS``."""

from bimm_mm.contours.detectors import edges, sam  # noqa: F401  registers
from bimm_mm.contours.detectors.base import Detector, build_detector

__all__ = ['Detector', 'build_detector']
