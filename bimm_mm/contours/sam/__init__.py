"""SAM's masks of many frames at once, and their contours.

The weights and the results are those of the package ``segment-anything``;
what is computed per prompt, mask or image in a loop there is one batch here.
"""

from bimm_mm.contours.sam.generator import MaskGenerator, Masks
from bimm_mm.contours.sam.load import LoadedSam, load_sam
from bimm_mm.contours.sam.options import MaskOptions

__all__ = [
    'LoadedSam',
    'MaskGenerator',
    'MaskOptions',
    'Masks',
    'load_sam',
]
