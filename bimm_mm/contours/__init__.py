"""Contours made beforehand.

``extract.py`` maps a detector (``detectors/``) over the videos and images of
a dataset, ``compression.py`` makes its maps small, ``format.py`` writes and
reads them: training needs that file alone.
"""

from bimm_mm.contours.format import (
    ContourError,
    ContourFile,
    Manifest,
    contour_path,
    write_contours,
)

__all__ = [
    'ContourError',
    'ContourFile',
    'Manifest',
    'contour_path',
    'write_contours',
]
