"""Workarounds for readers of media that make up what a file lacks.

See :mod:`bimm_mm.compat.patches`.
"""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

from bimm_mm.compat.import_hook import Run


def refuse_bad_images(module: ModuleType, run: Run) -> None:
    """Let mmcv refuse image files by name that it decodes by half.

    mmcv 2.1.0 and OpenCV fill what is damaged with gray (mmcv #2239), wait
    for a FIFO, read what is named ``.jpg`` and never ends, and name no file.
    """
    run(module)
    from bimm_mm.utils.image import read_image
    from bimm_mm.utils.video import check_access

    load = module.LoadImageFromFile.transform
    own = {'color_type': 'color', 'imdecode_backend': 'cv2'}
    other = ('file_client_args', 'backend_args', 'ignore_empty')

    def transform(self: Any, results: dict) -> dict | None:
        path = str(results['img_path'])
        options = vars(self)
        if own.items() <= options.items() and not (
            '://' in path or any(options[name] for name in other)
        ):
            check_access(path)
            image = read_image(path)
            dtype = 'float32' if self.to_float32 else 'uint8'
            results['img'] = image.astype(dtype, copy=False)
            results['img_shape'] = results['ori_shape'] = image.shape[:2]
            return results
        return load(self, results)

    module.LoadImageFromFile.transform = transform


def refuse_bad_masks(module: ModuleType, run: Run) -> None:
    """The same for mmsegmentation 1.2.2's maps of classes."""
    run(module)
    from bimm_mm.utils.files import one_line
    from bimm_mm.utils.video import (
        UndecodableVideoError,
        check_access,
        media_file,
    )

    load = module.LoadAnnotations._load_seg_map

    def load_seg_map(self: Any, results: dict) -> None:
        path = str(results['seg_map_path'])
        if '://' not in path:
            check_access(path)
            media_file(path)
        try:
            load(self, results)
        except (OSError, ValueError, AttributeError) as error:
            raise UndecodableVideoError(path, one_line(error)) from None

    module.LoadAnnotations._load_seg_map = load_seg_map


def refuse_bad_frames(module: ModuleType, run: Run) -> None:
    """The same for mmaction2 1.2.0's folders of frames."""
    run(module)
    from bimm_mm.utils.image import image_bytes
    from bimm_mm.utils.video import check_access

    decode = module.RawFrameDecode.transform

    def get(path: str) -> bytes:
        check_access(path)
        return image_bytes(path)

    def transform(self: Any, results: dict) -> dict:
        if self.io_backend == 'disk':
            self.file_client = SimpleNamespace(get=get)
        return decode(self, results)

    module.RawFrameDecode.transform = transform
