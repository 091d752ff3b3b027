"""Contours made beforehand: detectors, extraction, files and their manifest.

From frames to a file: ``detectors/`` finds contour strength, ``packing.py``
makes it small, ``store.py`` writes it, ``extractor.py`` does all of that for a
video, ``run.py`` and ``ray_launcher.py`` for a dataset.
"""

# Detectors are not imported here: they use targets, which use filters here.
from .manifest import Manifest
from .packing import Packing
from .source import check_source, source_of
from .store import ContourError, ContourFile, contour_path, write_contours

__all__ = [
    'ContourError',
    'ContourFile',
    'Manifest',
    'Packing',
    'check_source',
    'contour_path',
    'source_of',
    'write_contours',
]
