"""Everything that decides about contours, to be sent to any worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bimm_mm.contours.format import contour_path

if TYPE_CHECKING:
    from bimm_mm.contours.compression import Compression
    from bimm_mm.contours.extractor import Extractor


@dataclass(frozen=True)
class Plan:
    """How contours of a dataset are made; plain data, can be pickled.

    Args:
        data_root (str): Folder above all videos and images.
        contour_root (str): Folder above all contour files.
        detector (str): See :func:`build_detector`.
        weights (str, optional): File of its weights, if it has any.
        options (Mapping): Its other options.
        packing (Compression): From contour strength to few gray levels.
        stride (int): One of so many frames of a video has a contour.
        side (int): Short side of a frame in pixels, at most: larger frames
            are shrunk before detection.
        batch (int): Frames that the detector gets at once, at most.
        command (str): Which makes the dataset's contours.
        verify (bool): Whether finished files are read, and broken ones made
            again. Defaults to False.
    """

    data_root: str
    contour_root: str
    detector: str
    weights: str | None
    options: Mapping[str, Any] = field(hash=False)
    packing: Compression
    stride: int
    side: int
    batch: int
    command: str
    verify: bool = False

    def __post_init__(self) -> None:
        for name in ('stride', 'side', 'batch'):
            if getattr(self, name) < 1:
                raise ValueError(
                    f'{name} must be at least 1, got {getattr(self, name)}'
                )

    def place(self, path: str) -> str:
        """Where the contours of a video or image lie."""
        return contour_path(
            path, data_root=self.data_root, contour_root=self.contour_root
        )

    def build(self, device: str) -> Extractor:
        """Load the detector.

        Args:
            device (str): Such as ``'cpu'`` or ``'cuda:1'``.

        Returns:
            Extractor: Ready for any unit of the dataset.

        Raises:
            FileNotFoundError: If there is no such file of weights.
            ValueError: If the detector, its options or its weights do not
                fit.
        """
        from bimm_mm.contours.extractor import Extractor

        return Extractor(self, device=device)
