"""Repeated augmentation: several training samples of one decoded video."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose

from bimm_mm.datasets.transforms.sample import get_frames, set_frames
from bimm_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RepeatSamples(BaseTransform):
    """Augment and pack one decoded clip ``num`` times, independently.

    Repeated augmentation (Table 9) as VideoMAE does it: a clip is decoded
    once, and ``num`` augmentations of it go into the same batch. The loader's
    batch size counts videos; the collate function, mmaction2's
    ``repeat_pseudo_collate``, makes one batch of the samples of all videos.

    It is the last transform of a pipeline inside
    :class:`bimm_mm.ResilientDataset`. For pretraining, where one sample holds
    all crops, there is :class:`bimm_mm.RepeatCrops`.

    Args:
        num (int): Samples per decoded video, at least 1. Defaults to 2.
        transforms (Sequence[dict]): All that follows decoding, to the end:
            augmentations and packing.

    Raises:
        ValueError: If ``num`` is below 1.
    """

    def __init__(self, num: int = 2, *, transforms: Sequence[dict]) -> None:
        if num < 1:
            raise ValueError(f'num must be at least 1, got {num}')
        self.num = num
        self.transforms = Compose([TRANSFORMS.build(t) for t in transforms])

    def transform(self, results: dict) -> list[dict]:
        """Augment a decoded sample.

        Args:
            results (dict): A sample with frames.

        Returns:
            list[dict]: ``num`` packed samples.

        Raises:
            ValueError: If ``transforms`` do not end in packing.
        """
        return [self._sample(results) for _ in range(self.num)]

    def _sample(self, results: dict) -> dict:
        one = dict(results)
        # mmaction2 flips in place, also through a crop's view of the frame.
        set_frames(one, [frame.copy() for frame in get_frames(one)])
        packed = self.transforms(one)
        if 'data_samples' not in packed:
            raise ValueError(
                'transforms of bimm_mm.RepeatSamples must end in packing, '
                "with mmaction2's PackActionInputs for instance: what comes "
                'out of them is a sample of the batch'
            )
        return packed
