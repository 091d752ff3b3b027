"""What is around the datasets of the libraries: sampling, decoding, packing.

The datasets themselves are those of mmaction2 and mmpretrain, named in
configs, so that mmaction2 is needed only where videos are.
"""

from .action_from_frames import ActionFromFrames
from .in_memory import InMemoryVideoDataset
from .key_frames import KeyFrames
from .list_file import check_list_file
from .mixed import AlternatingSampler, MixedDataset
from .preprocessor import StimulusPreprocessor
from .randomness import seeded
from .resilient import ResilientDataset
from .sampler import Draw, EpochSampler
from .stimulus_from_frames import StimulusFromFrames
from .transforms import (
    AppendFollowing,
    EnlargeShortSide,
    Guarded,
    LoadContour,
    OnContourGrid,
    OpenFromMemory,
    PackStimulus,
    PackVideoNumber,
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
    'ActionFromFrames',
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
    'PackVideoNumber',
    'PerClip',
    'RepeatCrops',
    'RepeatSamples',
    'ResilientDataset',
    'ResizeToPatches',
    'StillClip',
    'StimulusFromFrames',
    'StimulusPreprocessor',
    'TakeFrames',
    'TruthOnly',
    'UndecodableVideoError',
    'check_list_file',
    'seeded',
]
