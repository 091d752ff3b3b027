"""Contours made beforehand.

``extract.py`` maps a detector (``detectors/``) over the videos and images of
a dataset, ``compression.py`` makes its maps small, ``format.py`` writes them.
"""

from bimm_mm.contours.compression import Compression
from bimm_mm.contours.format import (
    ContourError,
    ContourFile,
    contour_path,
    fingerprint,
    write_contours,
)
from bimm_mm.contours.manifest import Manifest

__all__ = [
    'Compression',
    'ContourError',
    'ContourFile',
    'Manifest',
    'contour_path',
    'fingerprint',
    'write_contours',
]
