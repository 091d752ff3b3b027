"""Brain Inspired Masked Modeling (BIMM) as a plugin for OpenMMLab.

Importing the package loads no library; it only sets up the workarounds of
:mod:`bimm_mm.compat`, so import it before the OpenMMLab libraries.
"""

from bimm_mm import compat
from bimm_mm.version import __version__

compat.apply()

__all__ = ['__version__']
