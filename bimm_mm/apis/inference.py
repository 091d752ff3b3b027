"""A pretrained model's predictions, for a notebook."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.model import BaseModel
from mmengine.registry import (
    DATASETS,
    MODELS,
    DefaultScope,
    init_default_scope,
)

from bimm_mm.apis.clips import load_clips
from bimm_mm.apis.config import load_config
from bimm_mm.apis.page import data_uri
from bimm_mm.apis.pictures import save_pictures
from bimm_mm.apis.samples import seconds_between, titles_of
from bimm_mm.apis.source import Source, read_source
from bimm_mm.datasets.transforms.formatting import find_path
from bimm_mm.engine.contour_source import use_contours
from bimm_mm.models.checkpoints.branch import load_model
from bimm_mm.models.pretrainers.masked_branch import BasePretrainer
from bimm_mm.structures import AreaOutput, ClipBatch
from bimm_mm.utils.device import find_device
from bimm_mm.utils.files import one_line
from bimm_mm.utils.progress import warnings_alone


class Reconstruction(dict[str, AreaOutput]):
    """What every area predicts, by its name; shows itself in a notebook.

    :func:`reconstruct` makes it. ``files`` of the clips, as far as known, are
    named below their pictures.
    """

    def __init__(
        self,
        outputs: dict[str, AreaOutput],
        *,
        model: BasePretrainer,
        files: Sequence[str | None] = (),
    ) -> None:
        super().__init__(outputs)
        self.model = model
        self.files = files

    def save(self, folder: str | Path, *, frames: int = 6) -> list[Path]:
        """Write a PNG file, of some frames, and an MP4 file of every clip.

        Returns their paths in the folder, which is made.
        """
        cfg = getattr(self.model, 'cfg', None) or Config()
        return save_pictures(
            self.model,
            self,
            folder,
            frames=frames,
            titles=titles_of(cfg, self.files),
            seconds=seconds_between(cfg, self.files),
        )

    def _repr_html_(self) -> str:
        """Pictures and videos, as notebooks ask for them."""
        with tempfile.TemporaryDirectory() as folder:
            paths = self.save(folder)
            uris = [data_uri(x.read_bytes(), x.suffix) for x in paths]
        return '<br>'.join(
            f'<video controls loop src="{uri}"></video>'
            if uri.startswith('data:video')
            else f'<img src="{uri}">'
            for uri in uris
        )

    def _repr_png_(self) -> bytes:
        """The first picture, where HTML is not shown."""
        with tempfile.TemporaryDirectory() as folder:
            return self.save(folder)[0].read_bytes()


def init_model(
    config: str | Path | Config | None,
    checkpoint: str | Path | None = None,
    *,
    device: str | torch.device | None = 'cpu',
) -> BaseModel:
    """Build a pretraining model, with random weights without a checkpoint.

    Args:
        config: None: the one that the checkpoint holds.
        checkpoint: A file or a run folder.
        device: None or ``'auto'``: the GPU if there is one.

    Returns:
        The model in evaluation mode, with its config as ``model.cfg``.

    Raises:
        FileNotFoundError: If config or checkpoint do not exist.
        ValueError: If the checkpoint is damaged or of another model, or
            there is no such device.
    """
    where = find_device(device)
    if isinstance(config, (str, Path)):
        config = load_config(config)
    found = None if checkpoint is None else read_source(checkpoint, config)
    cfg: Any = config if found is None else found.cfg
    if cfg is None or not cfg.get('model'):
        raise ValueError(
            f'{checkpoint} holds no config of a model: give the folder of a '
            'pretraining run or a checkpoint that it wrote'
        )
    if found is not None:
        use_contours(cfg, checkpoint=found.path)
    return build_model(cfg, found).to(where)


def build_model(cfg: Config, found: Source | None) -> BaseModel:
    """Build a config's model, with all weights of a source, or random ones.

    In evaluation mode, with its config as ``model.cfg``.
    """
    # Where the runner takes it from.
    preprocessor = cfg.get('data_preprocessor')
    scope = cfg.get('default_scope') or 'mmengine'
    # The process keeps its own.
    with DefaultScope.overwrite_default_scope(scope):
        try:
            options = {'data_preprocessor': preprocessor, **cfg.model}
            model = MODELS.build(options)
        except (KeyError, TypeError) as error:
            where = found.path if found else 'the config'
            raise ValueError(
                f'{where}: its model cannot be built: {one_line(error)}'
            ) from error
    if found is None:
        with warnings_alone():  # else three lines for every parameter
            model.init_weights()
    else:
        load_model(model, found.state, source=found.path)
    model.cfg = cfg
    return model.eval()


def load_batch(cfg: Config, *, num: int = 2, split: str = 'val') -> dict:
    """The first ``num`` samples of a config's dataset, as the loader's batch.

    ``split`` is ``'train'``, ``'val'`` or ``'test'``.

    Raises:
        ValueError: If the config has no such loader or the dataset has
            fewer samples.
    """
    loader = cfg.get(f'{split}_dataloader')
    if loader is None:
        raise ValueError(
            f'the config has no {split}_dataloader: choose another split, or '
            'give videos'
        )
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    dataset = DATASETS.build(loader.dataset)
    if not 1 <= num <= len(dataset):
        raise ValueError(
            f'{num} samples asked for, but the {split} set has {len(dataset)}'
        )
    return default_collate([dataset[index] for index in range(num)])


@torch.no_grad()
def reconstruct(
    source: str | Path | BasePretrainer,
    x: Any,
    *,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> Reconstruction:
    """Hide tokens at random and let every area predict them.

    Args:
        source: Run folder or checkpoint of a pretraining, or its model.
        x: A path of a video, or of an image for a model of images; bytes, as
            :func:`bimm_mm.load_clip` takes them; or a list of these. Areas of
            contours then get Sobel's. Or a batch: what a loader gives, or
            clips on the model's device.
        seed: Which masks and frames are drawn.
        device: None or ``'auto'``: the GPU if there is one; of a model: where
            it is.

    Returns:
        Outputs by area: ``V1``, or ``dorsal_V1`` for a ``BIMM``.

    Raises:
        FileNotFoundError: If there is no such source.
        ValueError: If it is no pretraining, or a file cannot be read.
    """
    model: Any = source
    if isinstance(source, (str, Path)):
        model = init_model(None, source, device=device)
    else:
        source = 'the model'
    if not isinstance(model, BasePretrainer):
        raise ValueError(
            f'{source} is a {type(model).__name__}, which has no areas to '
            'reconstruct: give a run of pretraining'
        )
    files: list[str | None] = []
    if isinstance(x, dict):
        files = [find_path(sample) for sample in x['data_samples']]
    elif not isinstance(x, ClipBatch):
        items = list(x) if isinstance(x, (list, tuple)) else [x]
        files = [
            str(item) if isinstance(item, (str, Path)) else None
            for item in items
        ]
        x = load_clips(model, items)
    model.eval()
    # The caller's own random numbers go on as if nothing had happened.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if isinstance(x, ClipBatch):
            outputs = model(inputs=x, mode='predict')[0]
        else:
            outputs = model.val_step(x)[0]
    return Reconstruction(outputs, model=model, files=files)
