"""Transforms that videos and images share, by what they are for."""

from bimm_mm.datasets.transforms.formatting import PackClipInputs
from bimm_mm.datasets.transforms.loading import (
    AppendFollowing,
    EnsureMinSize,
    LoadContour,
    SnapToContourStride,
)
from bimm_mm.datasets.transforms.processing import (
    GTBoxesOnly,
    ResizeToPatchMultiple,
    StillClip,
)
from bimm_mm.datasets.transforms.wrappers import (
    PerClip,
    RepeatCrops,
    RepeatSamples,
    SafeDecode,
)

__all__ = [
    'AppendFollowing',
    'EnsureMinSize',
    'GTBoxesOnly',
    'LoadContour',
    'PackClipInputs',
    'PerClip',
    'RepeatCrops',
    'RepeatSamples',
    'ResizeToPatchMultiple',
    'SafeDecode',
    'SnapToContourStride',
    'StillClip',
]
