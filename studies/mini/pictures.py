"""Reconstruction of one free clip by a pretrained model.

Shapes: T frames, S x S pixels.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from decord import VideoReader
from mmengine.config import Config
from torch import Tensor

from bimm_mm.apis import init_model, reconstruct, save_pictures
from bimm_mm.datasets.frame_store import DeviceFrames, FrameStore
from studies.mini.methods import ROOT

# A man turns his head while a street passes by: things and motion.
CLIP = 'carphone_pristine_004.mp4'


def free_clip(folder: Path) -> Path:
    """A clip that may be shown, made from an installed package.

    Args:
        folder (Path): Gets the quickstart's clips, unless they are there.

    Returns:
        Path: The clip.

    Raises:
        FileNotFoundError: If the package is not installed.
    """
    try:
        _prepare()(folder)
    except OSError:
        # Of several processes that made it, one was first.
        if not folder.is_dir():
            raise
    return folder / 'clips' / CLIP


def save_reconstruction(
    cfg: Config, checkpoint: Path, clip: Path, path: Path
) -> list[Path]:
    """Draw what a model makes of the clip.

    Args:
        cfg (Config): Of its pretraining.
        checkpoint (Path): Its weights.
        clip (Path): From :func:`free_clip`.
        path (Path): PNG file; of a model with two branches it shows the
            video, and the image goes to ``<stem>-ventral.png``.

    Returns:
        list[Path]: The files.
    """
    model = init_model(cfg, str(checkpoint))
    # The study's clips stay in memory for the next unit; this model looks at
    # one clip only.
    model.data_preprocessor.store = _store(_read(clip))
    data = {'inputs': torch.zeros(1, 1, dtype=torch.int64)}
    clips = model.data_preprocessor(data, False)['inputs']
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        drawn = save_pictures(model, reconstruct(model, clips), folder)
        return [_place(picture, path) for picture in drawn]


def _place(picture: Path, path: Path) -> Path:
    """Move a branch's picture to its final name."""
    if picture.stem == 'ventral':
        path = path.with_stem(f'{path.stem}-ventral')
    return picture.replace(path)


def _read(clip: Path) -> Tensor:
    """Frames (T, 3, S, S), uint8."""
    reader = VideoReader(str(clip), num_threads=1)
    frames = reader.get_batch(range(len(reader))).asnumpy()
    return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()


def _store(frames: Tensor) -> FrameStore:
    """One video, as the preprocessors keep them."""
    count = len(frames)
    parts = DeviceFrames(
        frames,
        start=torch.zeros(1, dtype=torch.int64),
        length=torch.tensor([count]),
        ratio=torch.ones(1),
    )
    return FrameStore(parts, digest='free clip')


def _prepare() -> Callable[[Path], Path]:
    """The quickstart's function; tools are no package."""
    path = ROOT / 'tools' / 'prepare_quickstart_data.py'
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.prepare
