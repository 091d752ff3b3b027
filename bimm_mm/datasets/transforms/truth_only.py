"""Annotated persons as the only training samples of a detector."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform

from bimm_mm.registry import TRANSFORMS

_PER_BOX = ('gt_bboxes', 'gt_labels', 'entity_ids')


@TRANSFORMS.register_module()
class GTBoxesOnly(BaseTransform):
    """Train on the annotated boxes that a crop has left, and on no others.

    Comes after cropping and before packing. Boxes outside the crop, which
    mmaction2's ``RandomCrop`` squeezes onto its border, go away; a clip on
    which no box is left is refused, and the dataset takes another one.

    mmaction2's ``FastRCNN`` needs proposals. This gives it none but the truth:
    an empty set, to which the sampler adds the annotated boxes
    (``add_gt_as_proposals=True``), each with its own actions. As proposals
    they would be matched by overlap instead, and of two boxes that became
    equal in the crop one would get the other's actions.

    Args:
        min_size (float): Shortest side of a box that is kept, in pixels.
            Defaults to 1.0: all that have an area.
    """

    def __init__(self, min_size: float = 1.0) -> None:
        if not min_size > 0:
            raise ValueError(f'min_size must be above 0 px, got {min_size}')
        self.min_size = min_size

    def transform(self, results: dict) -> dict | None:
        """Drop boxes without a visible part.

        Args:
            results (dict): A sample of ``AVADataset`` with ``gt_bboxes``
                (n, 4), x1, y1, x2, y2 in pixels.

        Returns:
            dict: The sample with m <= n boxes and their actions and persons,
            and ``proposals`` (0, 4). None if no box is left.
        """
        boxes = results['gt_bboxes']
        sides = boxes[:, 2:] - boxes[:, :2]
        seen = (sides >= self.min_size).all(axis=1)
        if not seen.any():
            return None
        for key in _PER_BOX:
            if key in results:
                results[key] = results[key][seen]
        results['proposals'] = np.zeros((0, 4), dtype=np.float32)
        return results
