"""What is around the datasets of the libraries: sampling, decoding, packing.

The datasets themselves are those of mmaction2 and mmpretrain, named in
configs, so that mmaction2 is needed only where videos are.
"""

from .in_memory import InMemoryVideoDataset
from .key_frames import KeyFrames
from .list_file import check_list_file
from .mixed import AlternatingSampler, MixedDataset
from .preprocessor import StimulusPreprocessor
from .randomness import seeded
from .resilient import ResilientDataset
from .sampler import Draw, EpochSampler
from .transforms import (
    AppendFollowing,
    EnlargeShortSide,
    Guarded,
    LoadContour,
    OnContourGrid,
    OpenFromMemory,
    PackStimulus,
    PerClip,
    RepeatCrops,
    RepeatSamples,
    ResizeToPatches,
    StillClip,
    TakeFrames,
    TruthOnly,
    UndecodableVideoError,
)

__all__ = [
    'AlternatingSampler',
    'AppendFollowing',
    'Draw',
    'EnlargeShortSide',
    'EpochSampler',
    'Guarded',
    'InMemoryVideoDataset',
    'KeyFrames',
    'LoadContour',
    'MixedDataset',
    'OnContourGrid',
    'OpenFromMemory',
    'PackStimulus',
    'PerClip',
    'RepeatCrops',
    'RepeatSamples',
    'ResilientDataset',
    'ResizeToPatches',
    'StillClip',
    'StimulusPreprocessor',
    'TakeFrames',
    'TruthOnly',
    'UndecodableVideoError',
    'check_list_file',
    'seeded',
]
