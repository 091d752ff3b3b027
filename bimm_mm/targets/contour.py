"""Contours as target: area V2.

B clips, T frames, H x W pixels; contour strength in [0, 1].
"""

from __future__ import annotations

import math
from functools import lru_cache

from mmengine.logging import print_log
from torch import Tensor

from bimm_mm.registry import MODELS
from bimm_mm.structures import ClipBatch
from bimm_mm.targets.base import (
    GRAY_LEVEL,
    Target,
    clip_moments,
    fp32_no_grad,
    luma,
    sobel,
)
from bimm_mm.utils.choices import check_choice

SOURCES = ('map', 'sobel')
QUANTILE = 0.99
STEP = 3  # the quantile is taken of every third pixel of every third row


@MODELS.register_module()
class ContourTarget(Target):
    """Contour strength of every pixel (paper, section 3.2, V2).

    Args:
        source: ``'map'`` takes ``clips.contour``, computed beforehand, as the
            paper does with SAM. ``'sobel'`` computes edges on the device, a
            deviation which the paper's footnote 3 allows and the log mentions.
        norm: ``'clip'`` divides by one standard deviation per clip (at least
            one gray level), so that predicting the mean costs 1; not per
            patch, where an empty patch would become amplified noise. None
            leaves [0, 1].
    """

    norms = {'clip': 'true deviation of the clip'}
    channels = 1

    def __init__(
        self, source: str = 'map', *, norm: str | None = 'clip'
    ) -> None:
        super().__init__(norm)
        check_choice('ContourTarget: source', source, SOURCES)
        self.source = source
        if source == 'sobel':
            _report_deviation()

    @fp32_no_grad
    def maps(self, clips: ClipBatch) -> Tensor:
        """Return contour strength (B, 1, T, H, W).

        Raises:
            ValueError: If ``source='map'`` and no contours were loaded.
        """
        if self.source == 'sobel':
            return clips.maps('sobel', lambda: sobel_edges(luma(clips)))
        if clips.contour is None:
            raise ValueError(
                "ContourTarget(source='map') found no contours in the "
                'clips: compute contour files beforehand and add '
                'bimm_mm.LoadContour to the pipeline, or set '
                "source='sobel', a deviation from the paper which its "
                'footnote 3 allows'
            )
        return clips.contour.float().detach()

    def statistics(self, values: Tensor) -> tuple[None, Tensor]:
        """See :meth:`Target.statistics`; values (B, N, L, 1)."""
        # No shift: where there is no contour stays 0.
        return None, clip_moments(values)[1]

    def to_rgb(self, maps: Tensor) -> Tensor:
        """Show contours in gray, weak ones too, (B, 3, T, H, W)."""
        return maps.clamp_min(0).sqrt().expand(-1, 3, -1, -1, -1)


@lru_cache(maxsize=1)
def _report_deviation() -> None:
    """Say once in the log that this is not what the paper does."""
    print_log(
        "ContourTarget: source='sobel' replaces SAM's contours by Sobel "
        'edges: a deviation from the paper, which its footnote 3 allows',
        logger='current',
    )


def sobel_edges(picture: Tensor) -> Tensor:
    """Compute Sobel edges, relative to their frame's 99th percentile.

    A step of height s has the magnitude s before that division. The
    percentile is that of every third pixel of every third row: exact
    quantiles of whole frames cost more than the edges themselves. It counts
    as one gray level where it is less, so that a flat frame stays flat.

    Brightness in [0, 1], (B, 1, T, H, W) with H, W > 1, gives edges of the
    same shape, in [0, 1].
    """
    dx, dy = sobel(picture.flatten(0, 1))
    magnitude = dx.square_().add_(dy.square_()).sqrt_().div_(4)
    # The smallest value that 99 % of the sample do not exceed.
    sample = magnitude[..., ::STEP, ::STEP].flatten(2)
    rank = math.ceil(QUANTILE * sample.shape[2])
    high = sample.kthvalue(rank, dim=2).values.clamp_(min=GRAY_LEVEL)
    magnitude.div_(high[..., None, None]).clamp_(max=1)
    return magnitude.view_as(picture)
