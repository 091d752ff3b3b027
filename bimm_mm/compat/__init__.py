"""Workarounds for bugs of the libraries; importing this module applies them.

``import bimm_mm`` changes nothing in your process. The tools import this
module first, our configs name it, and a config of your own can, too::

    custom_imports = dict(imports=['bimm_mm.compat'])

Nothing is imported here but the standard library: every patch waits until the
module that needs it is imported, and does nothing where the bug is absent.

The patches are the functions of :mod:`bimm_mm.compat.patches`,
:mod:`bimm_mm.compat.media` and :mod:`bimm_mm.compat.deferred`, each of which
names the library, the version and the upstream issue.

:mod:`bimm_mm.utils.processes` has what launchers call (PyTorch #190489, and
several processes without a GPU). Three workarounds are types that configs
name: ``bimm_mm.CPUAmpOptimWrapper`` (mmengine's autocast is for CUDA only),
``bimm_mm.FullPrecisionHook`` (losses of mmdet that fp16 overflows) and
``bimm_mm.EnsureMinSize`` (crops larger than the image).
Videos are read by ``bimm_mm.VideoInit``, not by decord (decord #195, #365).
"""

from bimm_mm.compat.deferred import DEFERRED
from bimm_mm.compat.import_hook import install
from bimm_mm.compat.patches import MISSING, PATCHES

install({**PATCHES, **DEFERRED}, MISSING)
