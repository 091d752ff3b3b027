"""What is around the datasets of the libraries: sampling, decoding, packing.

The datasets themselves are those of mmaction2 and mmpretrain, named in
configs, so that mmaction2 is needed only where videos are.
"""

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
    PackStimulus,
    PerClip,
    RepeatCrops,
    RepeatSamples,
    ResizeToPatches,
    StillClip,
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
    'KeyFrames',
    'LoadContour',
    'MixedDataset',
    'OnContourGrid',
    'PackStimulus',
    'PerClip',
    'RepeatCrops',
    'RepeatSamples',
    'ResilientDataset',
    'ResizeToPatches',
    'StillClip',
    'StimulusPreprocessor',
    'TruthOnly',
    'UndecodableVideoError',
    'check_list_file',
    'seeded',
]
