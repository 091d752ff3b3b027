"""One picture of many videos."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torchvision.utils import make_grid, save_image

from bimm_mm.apis.clip_files import Clip
from bimm_mm.utils.files import atomic_path, show_any_name
from bimm_mm.utils.video import UndecodableVideoError, VideoReader

_WIDTH, _HEIGHT, _LINE = 160, 120, 16  # pixels of a tile, and of its words
_COLUMNS, _TILES = 6, 48


def save_contact_sheet(clips: Sequence[Clip], root: Path, path: Path) -> None:
    """Show the middle frames of some clips, a row for each class."""
    of_class = defaultdict(list)
    for clip in clips:
        if clip.status == 'ok':
            of_class[clip.label].append(clip)
    each = _TILES if len(of_class) == 1 else _COLUMNS
    shown = [
        same[index]
        for _, same in sorted(of_class.items())
        for index in np.unique(np.linspace(0, len(same) - 1, each, dtype=int))
    ][:_TILES]
    tiles = [_tile(root / c.file, c.label or c.file) for c in shown]
    with atomic_path(path) as draft:
        grid = make_grid(tiles, nrow=_COLUMNS, pad_value=1.0)
        save_image(grid, draft)


def _tile(file: Path, text: str) -> torch.Tensor:
    """(3, H, W) in [0, 1]: the frame, whole, above its class."""
    tile = np.full((_HEIGHT + _LINE, _WIDTH, 3), 255, np.uint8)
    try:
        with VideoReader(str(file)) as reader:
            (frame,) = reader.get_batch([len(reader) // 2])
    except UndecodableVideoError:  # it was read before: since removed
        frame = np.full((_HEIGHT, _WIDTH, 3), 128, np.uint8)
    scale = min(_HEIGHT / frame.shape[0], _WIDTH / frame.shape[1])
    height, width = (max(1, int(n * scale)) for n in frame.shape[:2])
    tile[:height, :width] = cv2.resize(
        frame, (width, height), interpolation=cv2.INTER_AREA
    )
    place, font = (2, _HEIGHT + 12), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(tile, show_any_name(text), place, font, 0.4, (0, 0, 0))
    return torch.from_numpy(tile).movedim(2, 0) / 255
