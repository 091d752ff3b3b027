"""What is around the datasets of the libraries: sampling, decoding, packing.

The datasets themselves are those of mmaction2 and mmpretrain, named in
configs, so that mmaction2 is needed only where videos are.
"""

from bimm_mm.datasets.in_memory import InMemoryVideoDataset
from bimm_mm.datasets.key_frames import AVAKeyframeDataset
from bimm_mm.datasets.mixed import AlternatingSampler, MixedDataset
from bimm_mm.datasets.preprocessor import ClipDataPreprocessor
from bimm_mm.datasets.resilient import ResilientDataset
from bimm_mm.datasets.sampler import Draw, EpochSampler
from bimm_mm.datasets.transforms import (
    AppendFollowing,
    EnsureMinSize,
    GTBoxesOnly,
    LoadContour,
    OpenFromMemory,
    PackClipInputs,
    PerClip,
    RepeatCrops,
    RepeatSamples,
    ResizeToPatchMultiple,
    SafeDecode,
    SnapToContourStride,
    StillClip,
    TakeFrames,
    UndecodableVideoError,
)
from bimm_mm.utils.list_file import check_list_file
from bimm_mm.utils.random_state import seeded

__all__ = [
    'AVAKeyframeDataset',
    'AlternatingSampler',
    'AppendFollowing',
    'ClipDataPreprocessor',
    'Draw',
    'EnsureMinSize',
    'EpochSampler',
    'GTBoxesOnly',
    'InMemoryVideoDataset',
    'LoadContour',
    'MixedDataset',
    'OpenFromMemory',
    'PackClipInputs',
    'PerClip',
    'RepeatCrops',
    'RepeatSamples',
    'ResilientDataset',
    'ResizeToPatchMultiple',
    'SafeDecode',
    'SnapToContourStride',
    'StillClip',
    'TakeFrames',
    'UndecodableVideoError',
    'check_list_file',
    'seeded',
]
