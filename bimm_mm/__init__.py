"""Brain Inspired Masked Modeling (BIMM) as a plugin for OpenMMLab.

Importing the package loads no library and changes nothing in the process.
Workarounds for known bugs of the libraries are applied by
``import bimm_mm.compat``.
"""

from bimm_mm.version import __version__

__all__ = ['__version__']
