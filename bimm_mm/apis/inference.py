"""A trained model's predictions, for a notebook."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS, init_default_scope

from bimm_mm.apis.config import check_checkpoint, load_config
from bimm_mm.models.checkpoints.branch import load_model
from bimm_mm.models.checkpoints.load import read_state_dict
from bimm_mm.structures import AreaOutput, ClipBatch
from bimm_mm.utils.device import find_device


def init_model(
    config: str | Path | Config,
    checkpoint: str | None = None,
    *,
    device: str = 'cpu',
) -> BaseModel:
    """Build a pretraining model, with random weights without a checkpoint.

    Returns:
        The model in evaluation mode, with its config as ``model.cfg``.

    Raises:
        FileNotFoundError: If config or checkpoint do not exist.
        ValueError: If the checkpoint is damaged or of another model, or
            there is no such device.
    """
    where = find_device(device)
    cfg = config if isinstance(config, Config) else load_config(config)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    # Where the runner takes it from.
    preprocessor = cfg.get('data_preprocessor')
    model = MODELS.build({'data_preprocessor': preprocessor, **cfg.model})
    if checkpoint is None:
        # mmengine would print three lines for every parameter.
        logging.disable(logging.INFO)
        try:
            model.init_weights()
        finally:
            logging.disable(logging.NOTSET)
    else:
        path = check_checkpoint(str(checkpoint))
        load_model(model, read_state_dict(path), source=path)
    model.cfg = cfg
    return model.to(where).eval()


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
    model: BaseModel, batch: dict | ClipBatch, *, seed: int = 0
) -> dict[str, AreaOutput]:
    """Hide tokens at random and let every area predict them.

    Args:
        model: A ``MaskedBranch`` or a ``BIMM``.
        batch: What a loader gives, or clips on the model's device.
        seed: Which masks and frames are drawn.

    Returns:
        By area: ``V1``, or ``dorsal_V1`` for a ``BIMM``.
    """
    model.eval()
    # The caller's own random numbers go on as if nothing had happened.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if isinstance(batch, ClipBatch):
            return model(inputs=batch, mode='predict')[0]
        return model.val_step(batch)[0]
