"""Every workaround for a bug of a library, one function each.

A patch is called as ``patch(module, run)`` in place of the module's own code,
and ``run(module)`` executes that code. See :mod:`bimm_mm.compat`.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache, partial, wraps
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

from bimm_mm.compat import media
from bimm_mm.compat.import_hook import Patch, Run


def cache_formatted_configs(module: ModuleType, run: Run) -> None:
    """Let yapf format the text of a config once (mmcv #2466).

    MMEngine 0.10.7 formats it again for every log, file and checkpoint:
    seconds each for a detector's.
    """
    run(module)
    format_code = module.FormatCode

    @lru_cache(maxsize=8)
    def formatted(text: str, style: tuple[tuple[str, Any], ...]) -> Any:
        return format_code(text, style_config=dict(style))

    def format_once(text: str, style_config: Mapping[str, Any]) -> Any:
        return formatted(text, tuple(style_config.items()))

    vars(module)['FormatCode'] = format_once


def keep_multimodal_optional(module: ModuleType, run: Run) -> None:
    """Survive a ``transformers`` that the multimodal models do not fit.

    Where pycocotools and transformers are installed, mmpretrain 1.2.0 and
    mmaction2 1.2.0 import their multimodal models together with all others;
    transformers >= 4.56 no longer has what these import (as in
    recognize-anything #219), and ``import mmpretrain.models`` ends in a
    TypeError. There the libraries' own placeholders take their place, as if
    transformers were not installed.
    """
    found = version('transformers') if find_spec('transformers') else '0.0'
    if tuple(int(n) for n in found.split('.')[:2]) < (4, 56):
        run(module)
        return
    library = module.__name__.partition('.')[0]
    dependency = vars(import_module(f'{library}.utils.dependency'))
    before = dependency['WITH_MULTIMODAL']
    dependency['WITH_MULTIMODAL'] = False
    run(module)
    dependency['WITH_MULTIMODAL'] = before


def keep_numpy_nan(module: ModuleType, run: Run) -> None:
    """Serve ``np.NAN``, which NumPy 2.0 removed, to AVA's metric.

    mmaction2 1.2.0 fails where an action has no annotation (no upstream issue
    known). The module gets a copy of NumPy's names; NumPy stays as it is.
    """
    run(module)
    names = vars(import_module('numpy'))
    vars(module)['np'] = SimpleNamespace(**{**names, 'NAN': names['nan']})


def rate_detections_here(module: ModuleType, run: Run) -> None:
    """Compute AVA's metric without 32 forked processes (mmaction2 #2146).

    The pool of mmaction2 1.2.0 ends by SIGTERM. Its processes inherit the
    handlers of the one that evaluates, and one that is about to wait for a
    lock never comes to a handler of Python's: the evaluation hangs. Here the
    same numbers come from one process, at a sixth of the work: half a minute
    for AVA's 57,000 frames.
    """
    run(module)
    import numpy as np

    def rate(sample: tuple[list, ...], threshold: float = 0.5) -> tuple:
        # Of each action, the scores, and which detections are right.
        found, real, scores = (
            np.array(sample[index], np.float32) for index in (2, 0, 4)
        )
        overlaps = module.np_box_ops.iou(
            found.reshape(-1, 4), real.reshape(-1, 4)
        )
        found_labels, real_labels = np.array(sample[3]), np.array(sample[1])
        scores_of, hits_of = {}, {}
        for label in set(sample[3]):
            rows = found_labels == label
            scores_of[label] = scores[rows]
            hits_of[label] = hits = np.zeros(rows.sum(), bool)
            overlap = overlaps[rows][:, real_labels == label]
            if overlap.size:
                good = overlap.max(1) >= threshold
                best = np.where(good, overlap.argmax(1), -1)
                # A box is found once, by the first of its detections.
                boxes, first = np.unique(best, return_index=True)
                hits[first] = boxes >= 0
        return scores_of, hits_of

    def here(processes: int) -> SimpleNamespace:
        return SimpleNamespace(map=lambda call, tasks: [*map(call, tasks)])

    vars(module)['tpfp_single'] = rate
    vars(module)['multiprocessing'] = SimpleNamespace(Pool=here)


def log_any_name(module: ModuleType, run: Run) -> None:
    """Log names of files that are no UTF-8 (no upstream issue).

    Of MMEngine 0.10.7's log only a traceback on the screen is left there.
    """
    run(module)
    init = module.MMLogger.__init__

    def init_any(logger: Any, *args: Any, **kwargs: Any) -> None:
        from bimm_mm.utils.files import write_any_name

        init(logger, *args, **kwargs)
        for handler in logger.handlers:
            write_any_name(getattr(handler, 'stream', None))

    module.MMLogger.__init__ = init_any


def check_datasets(module: ModuleType, run: Run) -> None:
    """Say what is wrong with a list, which files are left out, and where.

    Before a dataset of any library reads its list, that is checked (mmaction2
    #2659, #128). Errors in reading annotations, such as a key that is not
    there, name no file (no upstream issue known). MMEngine 0.10.7 packs the
    samples into one array and ends in "need at least one array to
    concatenate" where there are none (mmdetection #10627). Files of other
    endings than a folder dataset reads are passed over in silence (no
    upstream issue known).
    """
    run(module)
    from mmengine.dist import is_main_process
    from mmengine.logging import print_log

    from bimm_mm.utils.list_file import (
        describe_left_out,
        files_below,
        read_dataset,
    )

    join = module.BaseDataset._join_prefix
    serialize = module.BaseDataset._serialize_data

    def joined(dataset: Any) -> None:
        join(dataset)
        reader = type(dataset).load_data_list
        read_dataset(reader.__qualname__.split('.')[0], vars(dataset))

    def checked(dataset: Any) -> Any:
        infos, left = dataset.data_list, ''
        folder = dataset.data_prefix.get('img_path') or ''
        if is_main_process() and folder and not dataset.ann_file:
            keys = ('img_path', 'seg_map_path')
            read = [i[key] for i in infos for key in keys if i.get(key)]
            # Some read pictures out of other files.
            if read or not infos:
                left = describe_left_out(files_below(folder), read)
        if not infos:
            raise ValueError(
                f'{dataset.ann_file or dataset.data_prefix} has no sample '
                'left: it is empty, or none of its entries has one of the '
                f'classes {dataset.metainfo.get("classes", ())} of the config '
                f'(metainfo.classes), or the endings that are read. {left}'
            )
        if left:
            print_log(left, 'current', logging.WARNING)
        return serialize(dataset)

    def initialized(kind: Any, **options: Any) -> None:
        super(module.BaseDataset, kind).__init_subclass__(**options)
        if 'load_data_list' in vars(kind):
            kind.load_data_list = _naming_source(kind.load_data_list)

    module.BaseDataset.__init_subclass__ = classmethod(initialized)
    module.BaseDataset._join_prefix = joined
    module.BaseDataset._serialize_data = checked


def _naming_source(load: Callable[[Any], list]) -> Callable[[Any], list]:
    """Let errors in a dataset's annotations name the file."""

    @wraps(load)
    def load_data_list(dataset: Any) -> list:
        kind = type(dataset).__name__
        source = str(dataset.ann_file or [*dataset.data_prefix.values()][:1])
        try:
            return load(dataset)
        except OSError as error:
            if error.errno is None:
                raise
            raise type(error)(
                f'{error.filename}, of a {kind}: {error.strerror}: put it '
                'there, or change data_root, data_prefix or ann_file'
            ) from error
        except Exception as error:
            if source in str(error):
                raise
            raise ValueError(
                f'{source} is not what {kind} reads: {type(error).__name__}: '
                f'{error}: correct it (UTF-8 without a byte order mark, every '
                'key in every entry), or name another file'
            ) from error

    return load_data_list


def quiet_file_client(module: ModuleType, run: Run) -> None:
    """Say nothing of MMEngine's own use of its old ``FileClient`` (#1084).

    MMEngine 0.10.7's checkpoint hook uses it, and warns whoever trains.
    """
    run(module)
    vars(module)['print_log'] = lambda *args, **kwargs: None


def quiet_pkg_resources(module: ModuleType, run: Run) -> None:
    """Say nothing of MMEngine 0.10.7's import of ``pkg_resources`` (#1676).

    From setuptools 80.9 on that warns whoever trains.
    """
    run(module)
    warnings.filterwarnings('ignore', 'pkg_resources is deprecated')


def quiet_leaf_specs(module: ModuleType, run: Run) -> None:
    """Say nothing of PyTorch 2.11's own use of its ``LeafSpec`` (#138214).

    It copies some where ONNX is written, and warns whoever exports.
    """
    run(module)
    warnings.filterwarnings('ignore', r'`isinstance\(treespec, LeafSpec\)`')


def end_loader_workers(module: ModuleType, run: Run) -> None:
    """End workers of a loader that the garbage collector finds (#64766).

    PyTorch 2.11 asks them to end in ``__del__``. Where the loader is in a
    cycle, as in MMEngine's runner, the queues to ask them through are garbage
    with it, and closed before: each worker is waited for 5 s and killed, and
    a thread prints "Bad file descriptor". Queues are kept until that is over.
    """
    run(module)
    kind = module._MultiProcessingDataLoaderIter
    init, shutdown = kind.__init__, kind._shutdown_workers
    kept: dict[int, tuple[Any, ...]] = {}

    def init_kept(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        kept[id(self)] = (self._index_queues, self._worker_result_queue)

    def shutdown_kept(self: Any) -> None:
        try:
            shutdown(self)
        finally:
            kept.pop(id(self), None)

    kind.__init__, kind._shutdown_workers = init_kept, shutdown_kept


def load_only_weights(module: ModuleType, run: Run) -> None:
    """Load MMEngine's own checkpoints, and run no code of any (#1655).

    MMEngine 0.10.7 loads files with torch's default, which since 2.6 refuses
    the log history inside its own, and those of the web with that of
    ``torch.hub``, which runs what they hold.
    """
    run(module)
    from bimm_mm.utils.safe_load import allow_globals, read_checkpoint

    allow_globals()
    vars(module)['load_url'] = partial(module.load_url, weights_only=True)
    register = module.CheckpointLoader.register_scheme
    register(prefixes='', loader=read_checkpoint, force=True)


def read_data_safely(module: ModuleType, run: Run) -> None:
    """Read annotations without running what they hold (no upstream issue).

    MMEngine 0.10.7 reads ``.pkl`` and ``.yml`` files, such as AVA's detected
    persons, with loaders that call whatever a file names.
    """
    run(module)
    import yaml

    handlers, load = module.file_handlers, module.load

    def load_pickle(file: Any, **options: Any) -> Any:
        from bimm_mm.utils.safe_load import SafeUnpickler

        return SafeUnpickler(file, **options).load()

    def load_safely(file: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return load(file, *args, **kwargs)
        except OSError:
            raise
        except Exception as error:  # each format and damage has its own
            text = ' '.join(str(error).split()) or type(error).__name__
            raise ValueError(f'{file} is not read: {text}') from error

    for name in ('pickle', 'pkl'):
        handlers[name].load_from_fileobj = load_pickle
    for name in ('yaml', 'yml'):
        handlers[name].load_from_fileobj = lambda file, **_: yaml.safe_load(
            file
        )
    # Packages that have it by now, too.
    for package in ('mmengine.fileio.io', 'mmengine.fileio', 'mmengine'):
        names = vars(sys.modules.get(package, module))
        names.update({'load': load_safely} if 'load' in names else {})


def supply_missing_drn(module: ModuleType) -> None:
    """Supply what mmaction2 1.2.0's wheel forgot (mmaction2 #2714).

    ``import mmaction.models`` imports the localizer DRN, whose folder is not
    in the wheel.
    """

    def drn(*args: Any, **kwargs: Any) -> None:
        raise ImportError(
            'DRN is missing from the wheel of mmaction2 1.2.0 (mmaction2 '
            '#2714): install mmaction2 from its source tree to use it'
        )

    models = import_module('mmaction.registry').MODELS
    models.register_module(name='DRN', module=drn)
    vars(module)['DRN'] = drn


def supply_mmcv_ops(module: ModuleType) -> None:
    """Stand in for the compiled ``mmcv._ext`` where it is absent.

    mmcv has no wheels for current versions of Python and PyTorch (mmcv
    #3263), and compiling it takes a compiler and ten minutes.
    """
    from bimm_mm.compat import mmcv_ops

    vars(module).update(
        (name, value)
        for name, value in vars(mmcv_ops).items()
        if name == '__getattr__' or not name.startswith('_')
    )


def read_and_write_files(module: ModuleType, run: Run) -> None:
    """Read files alone, and write them whole (no upstream issue).

    MMEngine 0.10.7 waits for a pipe that a config names as annotations.

    It writes checkpoints in place: a run that is killed, or a
    full disk, leaves half of one under the final name.
    """
    run(module)
    from bimm_mm.utils.files import regular_file, write_bytes

    def put(backend: Any, obj: bytes, filepath: Any) -> None:
        write_bytes(obj, filepath, sync=True)

    def checked(read: Callable) -> Callable:
        def checked_read(backend: Any, filepath: Any, *args: Any) -> Any:
            regular_file(filepath)
            return read(backend, filepath, *args)

        return checked_read

    module.LocalBackend.put = put
    for name in ('get', 'get_text', 'get_local_path'):
        read = getattr(module.LocalBackend, name)
        setattr(module.LocalBackend, name, checked(read))


PATCHES: dict[str, Patch] = {
    'mmcv.transforms.loading': media.refuse_bad_images,
    'mmaction.datasets.transforms.loading': media.refuse_bad_frames,
    'mmseg.datasets.transforms.loading': media.refuse_bad_masks,
    'mmengine.config.config': cache_formatted_configs,
    'mmengine.dataset.base_dataset': check_datasets,
    'mmengine.fileio.backends.local_backend': read_and_write_files,
    'mmengine.fileio.file_client': quiet_file_client,
    'mmengine.fileio.io': read_data_safely,
    'mmengine.logging.logger': log_any_name,
    'mmengine.runner.checkpoint': load_only_weights,
    'mmengine.utils.package_utils': quiet_pkg_resources,
    'torch.utils._pytree': quiet_leaf_specs,
    'torch.utils.data.dataloader': end_loader_workers,
    'mmpretrain.models.multimodal': keep_multimodal_optional,
    'mmaction.models.multimodal': keep_multimodal_optional,
    'mmaction.evaluation.functional.ava_evaluation.metrics': keep_numpy_nan,
    'mmaction.evaluation.functional.ava_utils': rate_detections_here,
}
MISSING: dict[str, Run] = {
    'mmaction.models.localizers.drn': lambda module: None,
    'mmaction.models.localizers.drn.drn': supply_missing_drn,
    'mmcv._ext': supply_mmcv_ops,
}
