"""Whole patches, boxes on frames, images as clips, clips as images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from bimm_mm.datasets.transforms.formatting import get_frames, set_frames
from bimm_mm.registry import TRANSFORMS
from bimm_mm.utils.random_state import get_random_state, set_random_state

# What a sample of AVADataset has for every annotated box.
_PER_BOX = ('gt_bboxes', 'gt_labels', 'entity_ids')


@TRANSFORMS.register_module()
class ResizeToPatchMultiple(BaseTransform):
    """Resize to a short side, and the long side to whole patches.

    mmaction2's ``Resize`` keeps the aspect ratio to the pixel, and 455 px are
    not 28 patches of 16. Here the long side is at most half a patch off; boxes
    follow exactly, and no border is added. Sizes are in pixels.
    """

    def __init__(self, short_side: int, *, patch_size: int) -> None:
        if short_side % patch_size:
            raise ValueError(
                f'short_side={short_side} must be a multiple of '
                f'patch_size={patch_size}'
            )
        self.short_side = short_side
        self.patch_size = patch_size

    def transform(self, results: dict) -> dict:
        """Resize frames, boxes and proposals of a sample of mmaction2."""
        height, width = get_frames(results)[0].shape[:2]
        scale = self.short_side / min(height, width)
        size = tuple(
            round(side * scale / self.patch_size) * self.patch_size
            for side in (width, height)
        )
        resize = {'type': 'mmaction.Resize', 'scale': size}
        return TRANSFORMS.build({**resize, 'keep_ratio': False})(results)


@TRANSFORMS.register_module()
class GTBoxesOnly(BaseTransform):
    """Train on the annotated boxes that a crop has left, and on no others.

    Comes after cropping and before packing. Boxes outside the crop, which
    mmaction2's ``RandomCrop`` squeezes onto its border, go away; a clip on
    which no box of 1 px is left is refused, and the dataset takes another one.

    mmaction2's ``FastRCNN`` needs proposals. This gives it none but the truth:
    an empty set, to which the sampler adds the annotated boxes
    (``add_gt_as_proposals=True``), each with its own actions. As proposals
    they would be matched by overlap instead, and of two boxes that became
    equal in the crop one would get the other's actions.
    """

    def transform(self, results: dict) -> dict | None:
        """Drop boxes (n, 4) without a visible part, and what belongs to them.

        Returns:
            The sample, with ``proposals`` (0, 4); None if no box is left.
        """
        boxes = results['gt_bboxes']
        sides = boxes[:, 2:] - boxes[:, :2]
        seen = (sides >= 1).all(axis=1)
        if not seen.any():
            return None
        for key in _PER_BOX:
            if key in results:
                results[key] = results[key][seen]
        results['proposals'] = np.zeros((0, 4), dtype=np.float32)
        return results


@TRANSFORMS.register_module()
class StillClip(BaseTransform):
    """Show an image for several frames, for an encoder of videos (OmniMAE).

    The last of the transforms inside :class:`bimm_mm.RepeatCrops`. Colors come
    from OpenCV as B, G, R and leave as R, G, B, which is how videos come.

    Args:
        num_frames: As many as a tubelet has.
    """

    def __init__(self, num_frames: int = 2) -> None:
        self.num_frames = num_frames

    def transform(self, results: dict) -> dict:
        """Add ``imgs`` to a sample with one image (H, W, 3)."""
        if 'imgs' in results:
            raise ValueError(
                'StillClip makes clips of images, this sample is a video: '
                'leave StillClip out of its pipeline'
            )
        (image,) = get_frames(results)
        results['imgs'] = [image[..., ::-1]] * self.num_frames
        return results


@TRANSFORMS.register_module()
class PerClip(BaseTransform):
    """Apply an image transform to every frame with the same random numbers.

    The global generators of Python, NumPy and torch (CPU) are rewound before
    every frame, so that all frames of a clip are changed alike, as by
    VideoMAE's RandAugment. What depends on the picture itself, such as
    equalizing its histogram, is done frame by frame, there too.

    Args:
        transform: The image transform; it takes and returns ``img``.
            mmpretrain's needs ``_scope_='mmpretrain'`` if it builds others, as
            RandAugment does.
    """

    def __init__(self, transform: Mapping[str, Any]) -> None:
        self.image_transform = TRANSFORMS.build(transform)

    def transform(self, results: dict) -> dict:
        """Transform the frames (H, W, 3), R, G, B, of a decoded sample."""
        start = get_random_state()
        frames = []
        for frame in get_frames(results):
            set_random_state(start)
            frames.append(self._change(frame))
        set_frames(results, frames)
        return results

    def _change(self, frame: np.ndarray) -> np.ndarray:
        # mmcv and mmpretrain assume B, G, R where they compute gray values.
        image = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        size = image.shape[:2]
        sample = {'img': image, 'img_shape': size, 'ori_shape': size}
        changed = self.image_transform(sample)['img']
        return cv2.cvtColor(changed, cv2.COLOR_BGR2RGB)
