"""Transforms that videos and images share."""

from bimm_mm.datasets.transforms.contour import LoadContour
from bimm_mm.datasets.transforms.contour_grid import SnapToContourStride
from bimm_mm.datasets.transforms.crops import RepeatCrops
from bimm_mm.datasets.transforms.enlarge import EnsureMinSize
from bimm_mm.datasets.transforms.following import AppendFollowing
from bimm_mm.datasets.transforms.from_memory import OpenFromMemory, TakeFrames
from bimm_mm.datasets.transforms.guarded import (
    SafeDecode,
    UndecodableVideoError,
)
from bimm_mm.datasets.transforms.pack import PackClipInputs
from bimm_mm.datasets.transforms.per_clip import PerClip
from bimm_mm.datasets.transforms.repeat_samples import RepeatSamples
from bimm_mm.datasets.transforms.still_clip import StillClip
from bimm_mm.datasets.transforms.truth_only import GTBoxesOnly
from bimm_mm.datasets.transforms.whole_patches import ResizeToPatchMultiple

__all__ = [
    'AppendFollowing',
    'EnsureMinSize',
    'GTBoxesOnly',
    'LoadContour',
    'OpenFromMemory',
    'PackClipInputs',
    'PerClip',
    'RepeatCrops',
    'RepeatSamples',
    'ResizeToPatchMultiple',
    'SafeDecode',
    'SnapToContourStride',
    'StillClip',
    'TakeFrames',
    'UndecodableVideoError',
]
