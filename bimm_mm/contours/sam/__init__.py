"""SAM's masks of many frames at once, and their contours.

The weights and the results are those of the package ``segment-anything``;
what is computed per prompt, mask or image in a loop there is one batch here.
"""

from bimm_mm.contours.sam.generator import MaskGenerator, MaskOptions, Masks
from bimm_mm.contours.sam.load import load_sam

__all__ = ['MaskGenerator', 'MaskOptions', 'Masks', 'load_sam']
