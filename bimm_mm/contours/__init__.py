"""Contours made beforehand: detectors, extraction, files and their manifest.

From frames to a file: ``detectors/`` finds contour strength, ``packing.py``
makes it small, ``store.py`` writes it, ``extractor.py`` does all of that for a
video, ``run.py`` and ``ray_launcher.py`` for a dataset.
"""

# Detectors are not imported here: they use targets, which use filters here.
from bimm_mm.contours.manifest import Manifest
from bimm_mm.contours.packing import Packing
from bimm_mm.contours.source import check_source, source_of
from bimm_mm.contours.store import (
    ContourError,
    ContourFile,
    contour_path,
    write_contours,
)

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
