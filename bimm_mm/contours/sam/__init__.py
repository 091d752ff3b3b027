"""SAM's masks of many frames at once, and their contours.

The weights and the results are those of the package ``segment-anything``;
what is computed per prompt, mask or image in a loop there is one batch here.
"""

from .generator import MaskGenerator, Masks
from .load import LoadedSam, load_sam
from .options import MaskOptions

__all__ = [
    'LoadedSam',
    'MaskGenerator',
    'MaskOptions',
    'Masks',
    'load_sam',
]
