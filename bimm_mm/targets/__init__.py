"""What the areas predict: one file per target."""

from bimm_mm.targets.base import Target
from bimm_mm.targets.code import CodeTarget
from bimm_mm.targets.contour import ContourTarget
from bimm_mm.targets.difference import DifferenceTarget
from bimm_mm.targets.gabor import GaborTarget
from bimm_mm.targets.hog import HOGTarget
from bimm_mm.targets.motion import MotionTarget
from bimm_mm.targets.pixel import PixelTarget
from bimm_mm.targets.sparse_pixel import SparsePixelTarget
from bimm_mm.targets.tokens import patchify, unpatchify

__all__ = [
    'CodeTarget',
    'ContourTarget',
    'DifferenceTarget',
    'GaborTarget',
    'HOGTarget',
    'MotionTarget',
    'PixelTarget',
    'SparsePixelTarget',
    'Target',
    'patchify',
    'unpatchify',
]
