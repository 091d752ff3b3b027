"""Where the contours of a video or image lie."""

from __future__ import annotations

import os

from bimm_mm.utils.video import media_name


def contour_path(path: str, *, data_root: str, contour_root: str) -> str:
    """Where the contours of a video or image lie.

    ``<data_root>/dancing/a.mp4`` has its contours in
    ``<contour_root>/dancing/a.mp4.zip``, whether a list names it ``a.mp4`` or
    ``a`` (see :func:`~bimm_mm.utils.video.media_name`).

    Args:
        path: The video or image.
        data_root: Folder above all videos or images.
        contour_root: Folder above all contour files.

    Returns:
        Path of the contour file, whether it exists or not.

    Raises:
        ValueError: If ``path`` is not below ``data_root``.
    """
    below = os.path.relpath(media_name(path), data_root or '.')
    if below.split(os.sep)[0] == os.pardir:
        raise ValueError(
            f'{path} is not below data_root={data_root!r}, so that the place '
            f'of its contours below {contour_root!r} is not known: set '
            "LoadContour's data_root to the folder of the videos or images"
        )
    return os.path.join(contour_root, f'{below}.zip')
