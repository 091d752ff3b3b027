"""How contours of a dataset are made, and where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bimm_mm.contours.compression import Compression
from bimm_mm.contours.format import contour_path, path_below
from bimm_mm.utils.media import is_image
from bimm_mm.utils.video_copy import CopySettings


@dataclass(frozen=True, kw_only=True)
class ExtractionConfig:
    """How contours of a dataset are made; plain data, can be pickled.

    Args:
        data_root: Folder above all videos and images.
        contour_root: Folder above all contour files.
        detector: See :func:`build_detector`.
        weights: File of the detector's weights, if it has any.
        options: The detector's other options.
        compression: From contour strength to few gray levels.
        stride: One of so many frames of a video has a contour.
        side: Short side of a frame in pixels, at most: larger frames are
            shrunk before detection.
        batch: Frames that the detector gets at once, at most.
        command: Which makes the dataset's contours, for the manifest.
        verify: Whether finished files are read, and broken ones made again.
        frames_root: Folder above copies of the very frames that contours are
            made of, see :mod:`bimm_mm.utils.video_copy`; '' makes none.
        codec: Of the copies.
    """

    data_root: str
    contour_root: str
    detector: str
    weights: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    compression: Compression = field(default_factory=Compression)
    stride: int = 4
    side: int = 256
    batch: int = 8
    command: str = ''
    verify: bool = False
    frames_root: str = ''
    codec: str = 'jpeg'

    def __post_init__(self) -> None:
        for name in ('stride', 'side', 'batch'):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f'{name} must be at least 1, got {value}')

    def outputs(self, path: str) -> list[str]:
        """Name all files that are made of a video or image."""
        made = [self.contour_path(path)]
        if self.frames_root and not is_image(path):
            made.append(self.copy_path(path))
        return made

    def copy_path(self, path: str) -> str:
        """Say where the copy of a video lies."""
        return path_below(path, self.data_root, self.frames_root)

    @property
    def copies(self) -> CopySettings:
        """How videos are copied."""
        return CopySettings(
            every=self.stride, short_side=self.side, codec=self.codec
        )

    def contour_path(self, path: str) -> str:
        """Say where the contours of a video or image lie."""
        return contour_path(
            path, data_root=self.data_root, contour_root=self.contour_root
        )
