"""An image as a clip, for an encoder of videos: OmniMAE."""

from __future__ import annotations

from mmcv.transforms import BaseTransform

from bimm_mm.datasets.transforms.sample import get_frames
from bimm_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class StillClip(BaseTransform):
    """Show an image for several frames.

    The last of the transforms inside :class:`bimm_mm.RepeatCrops`. Its
    colors come from OpenCV as B, G, R and leave as R, G, B, which is how
    videos come, so that one preprocessor serves both.

    Args:
        num_frames (int): Frames, all equal; a tubelet's. Defaults to 2.
    """

    def __init__(self, num_frames: int = 2) -> None:
        if num_frames < 1:
            raise ValueError(f'num_frames must be at least 1: {num_frames}')
        self.num_frames = num_frames

    def transform(self, results: dict) -> dict:
        """Repeat the image.

        Args:
            results (dict): A sample with one image (H, W, 3).

        Returns:
            dict: The sample with ``imgs``.

        Raises:
            ValueError: If it is a video already.
        """
        if 'imgs' in results:
            raise ValueError(
                'StillClip makes clips of images, this sample is a video: '
                'leave StillClip out of its pipeline'
            )
        (image,) = get_frames(results)
        results['imgs'] = [image[..., ::-1]] * self.num_frames
        return results
