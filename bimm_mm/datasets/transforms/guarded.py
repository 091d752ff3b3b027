"""Decoding that fails in one way only."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose

from bimm_mm.contours.format import ContourError
from bimm_mm.datasets.transforms.sample import media_path
from bimm_mm.registry import TRANSFORMS
from bimm_mm.utils.video import UndecodableVideoError

# Not the file's fault, and replacing it would hide it: the user's paths and
# contours, the installation, the order of the transforms.
_NOT_THE_FILE = (
    ContourError,
    FileNotFoundError,
    IsADirectoryError,
    ImportError,
    KeyError,
    NotADirectoryError,
    PermissionError,
)


@TRANSFORMS.register_module()
class SafeDecode(BaseTransform):
    """Decoding steps whose errors become :class:`UndecodableVideoError`.

    Decoders fail in many ways (decord alone raises three types, mmaction2
    and mmcv add assertions). :class:`bimm_mm.ResilientDataset` replaces the
    sample. A path that is wrong is the user's error and passes unchanged, as
    do a decoder that is not installed, transforms in the wrong order and
    contours that do not fit (:class:`bimm_mm.SnapToContourStride`).

    Args:
        transforms (Sequence[dict]): The decoding steps and nothing else:
            an error of theirs counts as one of the file.
    """

    def __init__(self, transforms: Sequence[dict]) -> None:
        self.transforms = Compose([TRANSFORMS.build(t) for t in transforms])

    def transform(self, results: dict) -> dict | None:
        """Decode one sample.

        Args:
            results (dict): The sample, with its path.

        Returns:
            dict: The sample with its frames.

        Raises:
            UndecodableVideoError: If it cannot be decoded.
            OSError: If the path is wrong.
            ContourError: If contours do not fit.
        """
        try:
            return self.transforms(results)
        except _NOT_THE_FILE:
            raise
        except Exception as error:
            reason = _one_line(error)
        # decord's readers leak when they are not freed (decord #208), and a
        # chained traceback would keep this one alive.
        results.pop('video_reader', None)
        raise UndecodableVideoError(media_path(results), reason)


def _one_line(error: Exception, limit: int = 200) -> str:
    text = ' '.join(str(error).split())
    return f'{type(error).__name__}: {text}'[:limit]
