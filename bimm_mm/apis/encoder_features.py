"""Features of the encoder.

Shapes: B samples, M views (clips x crops), C channels, T frames, H x W
pixels; (t, h, w) grid of N tokens; L = N, or N + 1 with a class token; D
width.
"""

from __future__ import annotations

import copy
import logging
import math
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor

from bimm_mm.apis.feature_options import FeatureOptions
from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.models.checkpoints.load import load_pretrained
from bimm_mm.utils.files import sha256_of_file


class EncoderFeatures:
    """From packed inputs to features after any block of an encoder.

    Args:
        cfg (Config): A config that passes :func:`check_classifier`.
        checkpoint (str, optional): Of pretraining or finetuning. None: random
            weights, which is said.
        options (FeatureOptions): Level, blocks, pooling, device, precision.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If the checkpoint does not fit, or there is no such
            device, block or class token.
    """

    def __init__(
        self, cfg: Config, checkpoint: str | None, options: FeatureOptions
    ) -> None:
        self.device = _choose_device(options.device)
        model = _build(cfg, options.seed)
        self.backbone: BIMMVisionTransformer = model.backbone
        self.blocks = _choose_blocks(options, self.backbone)
        self.level = options.level
        self.pool = _choose_pool(options, self.backbone)
        self.preprocessor = model.data_preprocessor.to(self.device)
        if checkpoint is None:
            print_log(
                'NO CHECKPOINT: these are features of random weights, seed '
                f'{options.seed}',
                'current',
                logging.WARNING,
            )
        else:
            load_pretrained(self.backbone, checkpoint)
        self.backbone.to(self.device).eval()
        self.amp = options.amp
        self.meta: dict[str, Any] = {
            'features': 'random' if checkpoint is None else 'encoder',
            'checkpoint': checkpoint,
            'checkpoint_sha256': checkpoint and sha256_of_file(checkpoint),
            'seed': options.seed if checkpoint is None else None,
            'level': self.level,
            'blocks': list(self.blocks),
            'depth': self.backbone.depth,
            'pool': self.pool,
            'amp': self.amp,
        }

    @torch.no_grad()
    def __call__(self, inputs: list[Tensor]) -> dict[str, np.ndarray]:
        """Features of a batch.

        Args:
            inputs (list[Tensor]): B of the pipeline's, all of one shape.

        Returns:
            dict[str, ndarray]: By name, ``'features'``, or
            ``'features_block4'`` where there are several blocks: float32 (B,
            D), (B, t, D) or (B, t, h, w, D).

        Raises:
            ValueError: If a sample has several views at another level than
                clip, or its shape does not fit the encoder.
        """
        batch = {'inputs': inputs, 'data_samples': None}
        x, views = self._views(self.preprocessor(batch)['inputs'])
        if views > 1 and self.level != 'clip':
            raise ValueError(
                f'level={self.level} needs one view of each sample, but the '
                f'pipeline gives {views} (clips x crops): use the validation '
                'pipeline, or one with num_clips=1 and one crop'
            )
        # As many clips at a time as there are samples, whatever the views.
        parts = [self._encode(part) for part in x.split(len(inputs))]
        return {
            self._name(block): torch.cat([part[block] for part in parts])
            .unflatten(0, (len(inputs), views))
            .mean(1)
            .cpu()
            .numpy()
            for block in self.blocks
        }

    def _views(self, x: Tensor) -> tuple[Tensor, int]:
        """A batch of any shape -> (B M, C, T, H, W), and M."""
        video = self.backbone.video
        if x.ndim == 6 or (x.ndim == 5 and not video):
            views = x.shape[1]
            x = x.flatten(0, 1)
        elif x.ndim == (5 if video else 4):
            views = 1
        else:
            raise ValueError(
                f'the pipeline gives batches of shape {tuple(x.shape)}, '
                f'which {"a video" if video else "an image"} encoder does '
                'not take: for videos, pack with FormatShape(NCTHW)'
            )
        x = x.unsqueeze(2) if x.ndim == 4 else x
        if not video and x.shape[2] > 1:
            raise ValueError(
                f'the pipeline gives clips of {x.shape[2]} frames to an image '
                'encoder: pack with FormatShape(NCHW), and the mean over the '
                'frames is taken'
            )
        return x, views

    def _encode(self, x: Tensor) -> dict[int, Tensor]:
        """(b, C, T, H, W) -> block -> (b, ...), fp32."""
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.amp
        ):
            tokens = self.backbone.encode(x, None, self.blocks)
        grid = self.backbone.grid(tuple(x.shape[2:]))
        return {
            block: pool_tokens(
                tokens[block].float(), grid, level=self.level, pool=self.pool
            )
            for block in self.blocks
        }

    def _name(self, block: int) -> str:
        if len(self.blocks) == 1:
            return 'features'
        return f'features_block{block}'


def pool_tokens(
    tokens: Tensor, grid: tuple[int, int, int], *, level: str, pool: str
) -> Tensor:
    """Tokens of a block -> features of a level.

    Args:
        tokens (Tensor): (B, L, D), the class token first if there is one.
        grid (tuple[int, int, int]): (t, h, w).
        level (str): ``'clip'``, ``'frame'`` or ``'token'``.
        pool (str): ``'cls'`` or ``'avg'``.

    Returns:
        Tensor: (B, D), (B, t, D) or (B, t, h, w, D).
    """
    if pool == 'cls':
        return tokens[:, 0]
    patches = tokens[:, tokens.shape[1] - math.prod(grid) :]
    patches = patches.unflatten(1, grid)
    if level == 'token':
        return patches
    return patches.mean((2, 3) if level == 'frame' else (1, 2, 3))


def check_classifier(cfg: Config) -> None:
    """Refuse configs from which nothing can be extracted.

    Args:
        cfg (Config): The config.

    Raises:
        ValueError: If it has no classifier, or one with another encoder.
    """
    config = cfg.get('model', {})
    if not ('cls_head' in config or 'head' in config):
        raise ValueError(
            f'model {config.get("type")} is no classifier: use a config of '
            "mmaction2's Recognizer3D or mmpretrain's ImageClassifier with "
            'our encoder, such as configs/downstream/*/finetune_*.py'
        )
    kind = config.get('backbone', {}).get('type')
    name = str(getattr(kind, '__name__', kind)).rpartition('.')[2]
    if name != BIMMVisionTransformer.__name__:
        raise ValueError(
            f'the backbone of the config is {kind}: features are extracted '
            'from bimm_mm.BIMMVisionTransformer'
        )


def _build(cfg: Config, seed: int) -> BaseModel:
    """The classifier of a config, with random weights of the seed."""
    config = copy.deepcopy(cfg.model)
    # The checkpoint is the caller's, not the config's.
    config.backbone.init_cfg = None
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        # As the runner hands it to the model.
        preprocessor = cfg.get('data_preprocessor')
        return MODELS.build({'data_preprocessor': preprocessor, **config})


def _choose_device(name: str | None) -> torch.device:
    if name is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f'device {name!r}: {error}') from None
    if device.type == 'cuda' and not torch.cuda.is_available():
        raise ValueError(f'device {name}: torch sees no GPU; use cpu')
    return device


def _choose_blocks(
    options: FeatureOptions, backbone: BIMMVisionTransformer
) -> tuple[int, ...]:
    depth = backbone.depth
    wrong = [block for block in options.blocks if not 1 <= block <= depth]
    if wrong:
        raise ValueError(
            f'block {wrong[0]}: the encoder has {depth} blocks, so choose '
            f'from 1..{depth}'
        )
    return tuple(dict.fromkeys(options.blocks)) or (depth,)


def _choose_pool(
    options: FeatureOptions, backbone: BIMMVisionTransformer
) -> str:
    has_token = backbone.cls_token is not None
    if options.pool == 'cls' and not has_token:
        raise ValueError(
            'pool=cls, but the encoder has no class token '
            '(with_cls_token=False): use pool=avg'
        )
    if options.pool:
        return options.pool
    return 'cls' if has_token and options.level == 'clip' else 'avg'
