"""Transforms that videos and images share."""

from .contour import LoadContour
from .contour_grid import OnContourGrid
from .crops import RepeatCrops
from .enlarge import EnlargeShortSide
from .following import AppendFollowing
from .from_memory import OpenFromMemory, TakeFrames
from .guarded import Guarded, UndecodableVideoError
from .pack import PackStimulus
from .per_clip import PerClip
from .repeat_samples import RepeatSamples
from .still_clip import StillClip
from .truth_only import TruthOnly
from .video_number import PackVideoNumber
from .whole_patches import ResizeToPatches

__all__ = [
    'AppendFollowing',
    'EnlargeShortSide',
    'Guarded',
    'LoadContour',
    'OnContourGrid',
    'OpenFromMemory',
    'PackStimulus',
    'PackVideoNumber',
    'PerClip',
    'RepeatCrops',
    'RepeatSamples',
    'ResizeToPatches',
    'StillClip',
    'TakeFrames',
    'TruthOnly',
    'UndecodableVideoError',
]
