"""Workarounds for bugs of the libraries; importing this module applies them.

``import bimm_mm`` changes nothing in your process. The tools import this
module first, our configs name it, and a config of your own can, too::

    custom_imports = dict(imports=['bimm_mm.compat'])

Nothing is imported here but the standard library: every patch waits until the
module that needs it is imported, and does nothing where the bug is absent.

=============================  ===========================================
function in ``patches``        upstream issue
=============================  ===========================================
cache_formatted_configs        mmcv #2466: configs are formatted repeatedly
defer_transformers             mmengine imports it for one optimizer: slow
check_datasets                 mmaction2 #2659, mmdetection #10627: unclear
                               errors about lists and empty datasets
keep_multimodal_optional       mmpretrain and mmaction2 with new transformers
keep_numpy_nan                 mmaction2's metric of AVA with NumPy 2
log_any_name                   mmengine loses log lines with odd names
load_only_weights              mmengine #1655: resuming; safe files of the web
read_data_safely               mmengine runs code of .pkl and .yml files
refuse_bad_frames              the same for mmaction2's folders of frames
refuse_bad_images              mmcv #2239: damaged images decode by half
refuse_bad_masks               the same for mmsegmentation's maps of classes
supply_missing_drn             mmaction2 #2714: a module not in the wheel
supply_mmcv_ops                mmcv #3263: no wheels, so ops of torchvision
take_sample_keys               mmengine's augmentations after resuming differ
write_files_whole              mmengine writes checkpoints in place
=============================  ===========================================

:mod:`bimm_mm.utils.processes` has what launchers call (PyTorch #190489, and
several processes without a GPU). Three workarounds are types that configs
name: ``bimm_mm.CPUAmpOptimWrapper`` (mmengine's autocast is for CUDA only),
``bimm_mm.FullPrecisionHook`` (losses of mmdet that fp16 overflows) and
``bimm_mm.EnsureMinSize`` (crops larger than the image).
Videos are read by ``bimm_mm.VideoInit``, not by decord (decord #195, #365).
"""

from bimm_mm.compat.import_hook import install
from bimm_mm.compat.patches import MISSING, PATCHES

install(PATCHES, MISSING)
