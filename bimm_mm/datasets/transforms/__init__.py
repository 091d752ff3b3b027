"""Transforms that videos and images share."""

from .contour import LoadContour
from .crops import RepeatCrops
from .enlarge import EnlargeShortSide
from .following import AppendFollowing
from .guarded import Guarded, UndecodableVideoError
from .pack import PackStimulus

__all__ = [
    'AppendFollowing',
    'EnlargeShortSide',
    'Guarded',
    'LoadContour',
    'PackStimulus',
    'RepeatCrops',
    'UndecodableVideoError',
]
