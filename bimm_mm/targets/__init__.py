"""What the areas predict: one file per kind of target."""

from bimm_mm.targets.base import Target, patchify, unpatchify
from bimm_mm.targets.code import CodeTarget
from bimm_mm.targets.contour import ContourTarget
from bimm_mm.targets.gabor import GaborTarget
from bimm_mm.targets.hog import HOGTarget
from bimm_mm.targets.pixel import MotionTarget, PixelTarget

__all__ = [
    'CodeTarget',
    'ContourTarget',
    'GaborTarget',
    'HOGTarget',
    'MotionTarget',
    'PixelTarget',
    'Target',
    'patchify',
    'unpatchify',
]
