"""What is around the datasets of the libraries: sampling, decoding, packing.

The datasets themselves are those of mmaction2 and mmpretrain, named in
configs, so that mmaction2 is needed only where videos are.
"""

from bimm_mm.datasets.ava import AVAKeyframeDataset
from bimm_mm.datasets.samplers import (
    EndlessSampler,
    EpochSampler,
    MixedBatchSampler,
)
from bimm_mm.datasets.transforms.formatting import (
    PackClipInputs,
    RepeatCrops,
    SafeDecode,
)
from bimm_mm.datasets.transforms.loading import (
    AppendFollowing,
    EnsureMinSize,
    LoadContour,
    SnapToContourStride,
    VideoDecode,
    VideoInit,
)
from bimm_mm.datasets.transforms.processing import (
    GTBoxesOnly,
    PerClip,
    ResizeToPatchMultiple,
    StillClip,
)
from bimm_mm.datasets.wrappers import (
    DatasetWrapper,
    MixedDataset,
    ResilientDataset,
)
from bimm_mm.utils.random_state import SampleKey

__all__ = [
    'AVAKeyframeDataset',
    'AppendFollowing',
    'DatasetWrapper',
    'EndlessSampler',
    'EnsureMinSize',
    'EpochSampler',
    'GTBoxesOnly',
    'LoadContour',
    'MixedBatchSampler',
    'MixedDataset',
    'PackClipInputs',
    'PerClip',
    'RepeatCrops',
    'ResilientDataset',
    'ResizeToPatchMultiple',
    'SafeDecode',
    'SampleKey',
    'SnapToContourStride',
    'StillClip',
    'VideoDecode',
    'VideoInit',
]
