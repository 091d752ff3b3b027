"""Every workaround for a bug of a dependency, one function each.

:func:`apply` runs at ``import bimm_mm`` and imports nothing: each cure waits
for the module that needs it and does nothing where the bug is absent.

A cure is called as ``cure(module, run)`` in place of the module's own code,
and ``run(module)`` executes that code.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pickle import UnpicklingError
from types import ModuleType
from typing import Any
from unittest import mock

from bimm_mm.import_watch import Cure, Run, Watcher
from bimm_mm.numpy_view import NumpyView
from bimm_mm.placeholders import placeholders, undone_on_error

_DRN = 'mmaction.models.localizers.drn'


def apply() -> None:
    """Set up all cures; a second call changes nothing."""
    if any(isinstance(finder, Watcher) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, Watcher(CURES))
    sys.meta_path.append(_MissingDRN())
    for name, cure in CURES.items():
        if name in sys.modules:
            cure(sys.modules[name], _already_run)


def allow_own_checkpoints(module: ModuleType, run: Run) -> None:
    """Let torch >= 2.6 resume from MMEngine's checkpoints (mmengine #1655).

    MMEngine 0.10.7 loads with torch's default, which is now
    ``weights_only=True`` and refuses the log history inside its own files.
    Safe loading stays on: exactly what such a file holds is allowed, namely
    ``HistoryBuffer``, NumPy arrays and scalars of numbers. The files also
    name ``getattr``, which would open the door to anything: it is answered
    by :func:`_statistic`, which hands out HistoryBuffer's statistics only.
    """
    run(module)
    import numpy as np
    import torch

    if tuple(int(n) for n in torch.__version__.split('.')[:2]) < (2, 6):
        return
    # Where NumPy keeps the two functions, from the way it pickles itself.
    reconstruct = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    numbers = np.typecodes['AllInteger'] + np.typecodes['Float'] + '?'
    torch.serialization.add_safe_globals(
        [
            module.HistoryBuffer,
            (_statistic, 'builtins.getattr'),
            np.ndarray,
            np.dtype,
            *{type(np.dtype(code)) for code in numbers},
            # NumPy 2 renamed numpy.core: files of either version.
            *(
                (function, f'numpy.{core}.multiarray.{function.__name__}')
                for function in (reconstruct, scalar)
                for core in ('core', '_core')
            ),
        ]
    )


def keep_multimodal_optional(module: ModuleType, run: Run) -> None:
    """Survive a ``transformers`` the multimodal models do not fit.

    Where pycocotools and transformers are installed, mmpretrain 1.2.0 and
    mmaction2 1.2.0 import their multimodal models together with all others;
    transformers >= 4.56 no longer has what these import (as in
    recognize-anything #219), and ``import mmpretrain.models`` ends in a
    TypeError. They are tried first. Only if that fails, the libraries' own
    placeholders take their place, as if transformers were not installed;
    building one of them tells the error met here.
    """
    library = module.__name__.partition('.')[0]
    dependency = import_module(f'{library}.utils.dependency')
    names = dict(vars(module))
    try:
        with undone_on_error(import_module(f'{library}.registry')):
            run(module)
    except Exception as error:
        for name in [n for n in sys.modules if n.startswith(module.__name__)]:
            if name != module.__name__:
                del sys.modules[name]
        vars(module).clear()
        vars(module).update(names)
        with mock.patch.multiple(
            dependency,
            WITH_MULTIMODAL=False,
            register_multimodal_placeholder=placeholders(error),
        ):
            run(module)


def keep_old_numpy_names(module: ModuleType, run: Run) -> None:
    """Serve ``np.Inf``, ``np.NAN``, ``np.in1d`` and ``np.trapz`` to callers.

    NumPy 2.0 removed the first two, 2.4 the others; mmaction2 1.2.0 and
    mmpretrain 1.2.0 fail when the code runs (no upstream issue known). The
    module gets a view of NumPy with the names; NumPy itself stays as it is.
    """
    run(module)
    module.np = NumpyView('numpy')


def lay_out_once(module: ModuleType, run: Run) -> None:
    """Let yapf format the text of a config once (mmcv #2466).

    MMEngine 0.10.7 formats it again for every log, file and checkpoint:
    seconds each for a detector's.
    """
    run(module)
    format_code = module.FormatCode

    @lru_cache(maxsize=8)
    def laid_out(text: str, style: tuple[tuple[str, Any], ...]) -> Any:
        return format_code(text, style_config=dict(style))

    module.FormatCode = lambda text, style_config: laid_out(
        text, tuple(style_config.items())
    )


def load_opencv_first(module: ModuleType, run: Run) -> None:
    """Keep OpenCV able to read PNG files beside decord (decord #339).

    decord 0.6.0 brings a zlib of its own. Where it is loaded before OpenCV,
    OpenCV's PNG reader gets that one and reads nothing.
    """
    with suppress(ImportError):
        import_module('cv2')
    run(module)


def name_empty_dataset(module: ModuleType, run: Run) -> None:
    """Say which dataset has no sample (mmdetection #10627).

    MMEngine 0.10.7 packs the samples of any library's dataset into one array
    and ends in "need at least one array to concatenate" where there are none.
    """
    run(module)
    serialize = module.BaseDataset._serialize_data

    def checked(dataset: Any) -> Any:
        if not dataset.data_list:
            raise ValueError(
                f'{dataset.ann_file or dataset.data_prefix} has no sample '
                'left: it is empty, or none of its entries has one of the '
                f'classes {dataset.metainfo.get("classes", ())} of the config '
                '(metainfo.classes)'
            )
        return serialize(dataset)

    module.BaseDataset._serialize_data = checked


CURES: dict[str, Cure] = {
    'decord': load_opencv_first,
    'mmengine.config.config': lay_out_once,
    'mmengine.dataset.base_dataset': name_empty_dataset,
    'mmengine.logging.history_buffer': allow_own_checkpoints,
    'mmpretrain.models.multimodal': keep_multimodal_optional,
    'mmaction.models.multimodal': keep_multimodal_optional,
    'mmaction.utils.misc': keep_old_numpy_names,
    'mmaction.datasets.transforms.pose_transforms': keep_old_numpy_names,
    'mmaction.evaluation.functional.accuracy': keep_old_numpy_names,
    'mmaction.evaluation.functional.ava_evaluation.metrics': (
        keep_old_numpy_names
    ),
    'mmaction.evaluation.metrics.multimodal_metric': keep_old_numpy_names,
    'mmpretrain.evaluation.metrics.retrieval': keep_old_numpy_names,
}


class _MissingDRN(MetaPathFinder, Loader):
    """Supplies what mmaction2 1.2.0's wheel forgot (mmaction2 #2714).

    ``import mmaction.models`` imports the localizer DRN, whose folder is not
    in the wheel. Asked last, so a complete mmaction2 is left alone.
    """

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname not in (_DRN, f'{_DRN}.drn'):
            return None
        return spec_from_loader(fullname, self, is_package=fullname == _DRN)

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ == _DRN:
            return

        class DRN:
            """Stands for the localizer that the wheel lacks."""

            def __init__(self, *args: Any, **kwargs: Any) -> None:
                raise ImportError(
                    'DRN is missing from the wheel of mmaction2 1.2.0 '
                    '(mmaction2 #2714): install mmaction2 from its source '
                    'tree to use this localizer'
                )

        import_module('mmaction.registry').MODELS.register_module(module=DRN)
        module.DRN = DRN


def _statistic(owner: type, name: str) -> Callable[..., Any]:
    """``getattr`` for checkpoints: statistics of HistoryBuffer only."""
    from mmengine.logging import HistoryBuffer

    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(owner, name)
    raise UnpicklingError(
        f'the checkpoint asks for attribute {name!r} of {owner!r}, which no '
        'checkpoint of MMEngine needs: do not load it'
    )


def _already_run(module: ModuleType) -> None:
    """In place of a module's code where the module was imported before."""


def end_processes() -> None:
    """End a successful process that trained beside others with gloo.

    Where DDP was, gloo's threads outlive ``destroy_process_group``, and now
    and then abort the process while Python takes itself down: the launcher
    calls a finished training failed (PyTorch #190489, #179291). So exit
    handlers run, files are flushed, and the process ends at once. Without a
    process group nothing happens; that of another backend is only left.
    """
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return
    backend = distributed.get_backend()
    distributed.destroy_process_group()
    if backend == 'gloo':
        atexit._run_exitfuncs()
        print(end='', flush=True)
        os._exit(0)


def prepare_cpu_processes(cfg: Any) -> None:
    """Let several processes train without a GPU.

    Beside several GPUs mmengine 0.10.7 knows no other way: ``init_dist``
    calls ``torch.cuda.set_device`` (mmengine/dist/utils.py), and
    ``Runner.wrap_model`` passes ``device_ids``, which PyTorch's DDP rejects
    for modules on the CPU. Both let themselves be told: a process group that
    exists already is used as it is, and so is ``model_wrapper_cfg``. No
    upstream issue known. Does nothing where there is a GPU.

    Args:
        cfg (mmengine.Config): Config of the run, changed in place.

    Raises:
        ValueError: If the processes were not started by torchrun.
    """
    import torch
    from torch import distributed as dist

    if torch.cuda.is_available():
        return
    if 'RANK' not in os.environ or 'MASTER_ADDR' not in os.environ:
        raise ValueError(
            'several processes without a GPU must be started by torchrun: '
            'use tools/dist_train.sh, or --launcher none for one process'
        )
    if not dist.is_initialized():
        dist.init_process_group('gloo')
    wrapper = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    wrapper.update(cfg.get('model_wrapper_cfg') or {})
    wrapper['device_ids'] = None
    cfg.model_wrapper_cfg = wrapper
