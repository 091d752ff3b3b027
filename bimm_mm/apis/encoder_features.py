"""Features of an encoder's blocks, and trivial ones to compare them with.

Shapes: B samples, M views (clips x crops), C channels, T frames, H x W
pixels; (t, h, w) grid of N tokens; L = N, or N + 1 with a class token; D
width.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import MODELS
from torch import Tensor

from bimm_mm.apis.config import check_checkpoint
from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.models.checkpoints.load import load_pretrained
from bimm_mm.utils.files import sha256_of_file
from bimm_mm.utils.list_file import type_name

ENCODER = 'encoder'
TRIVIAL = ('motion-energy', 'middle-frame')
SPLITS = ('train', 'val', 'test')
LEVELS = ('clip', 'frame', 'token')
POOLS = ('cls', 'avg')
NO_CHECKPOINT = 'none'


@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """What to extract, and how.

    Args:
        kind: ``'encoder'``, or a trivial feature to compare with:
            ``'motion-energy'`` or ``'middle-frame'``, one per clip.
        split: Which dataset of the config: ``'train'``, ``'val'``, ``'test'``.
        pipeline: Whose transforms, ``'val'`` or ``'test'``; by default those
            of ``'test'`` for the split ``'test'``, else of ``'val'``, also for
            training samples.
        level: ``'clip'`` (D,), ``'frame'`` (t, D), the mean over space of
            each tubelet, or ``'token'`` (t, h, w, D) per sample.
        pool: Level ``'clip'`` only: ``'cls'``, the class token, or ``'avg'``,
            the mean of the patch tokens; by default the class token if there
            is one.
        blocks: After how many blocks, each in 1..depth; by default after the
            last.
        half: Store float16 and not float32.
        batch_size: Samples at a time; by default that of the config's loader.
        workers: Processes that decode; by default those of the config's
            loader.
        device: By default ``'cuda'`` if there is one, else ``'cpu'``.
        amp: Run the encoder in bfloat16 autocast.
        skip_bad: Leave out files that cannot be read, and list them;
            otherwise they are an error.
        seed: Of the random weights, if there is no checkpoint.
    """

    kind: str = ENCODER
    split: str = 'val'
    pipeline: str | None = None
    level: str = 'clip'
    pool: str | None = None
    blocks: tuple[int, ...] = ()
    half: bool = False
    batch_size: int | None = None
    workers: int | None = None
    device: str | None = None
    amp: bool = False
    skip_bad: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for value, known in (
            (self.kind, (ENCODER, *TRIVIAL)),
            (self.level, LEVELS),
            (self.pool, (None, *POOLS)),
        ):
            if value not in known:
                raise ValueError(f'{value!r}: choose from {known}')


class EncoderFeatures:
    """From packed inputs to features after any block of an encoder.

    Args:
        cfg: A classification config with our encoder.
        checkpoint: Of pretraining or finetuning; None: random weights of the
            seed, which is said.
        options: Level, blocks, pooling, device, precision and seed.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If the config has no classifier with our encoder, the
            checkpoint does not fit, or there is no such block or class token.
    """

    def __init__(
        self, cfg: Config, checkpoint: str | None, options: FeatureOptions
    ) -> None:
        if checkpoint is not None:
            check_checkpoint(checkpoint)
        default = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.device = torch.device(options.device or default)
        self.level, self.amp, seed = options.level, options.amp, options.seed
        model = _build(cfg, seed)
        self.backbone: BIMMVisionTransformer = model.backbone
        depth = self.backbone.depth
        self.blocks = list(dict.fromkeys(options.blocks)) or [depth]
        for block in self.blocks:
            if not 1 <= block <= depth:
                raise ValueError(
                    f'block {block}: the encoder has {depth} blocks, so '
                    f'choose from 1..{depth}'
                )
        whole = self.backbone.cls_token is not None and self.level == 'clip'
        self.pool = options.pool or ('cls' if whole else 'avg')
        if self.pool == 'cls' and not whole:
            raise ValueError(
                'pool=cls needs an encoder with a class token, which has no '
                'place in time or space, and level=clip: use pool=avg'
            )
        if checkpoint is None:
            print_log(
                f'NO CHECKPOINT: features of random weights, seed {seed}',
                'current',
                logging.WARNING,
            )
        else:
            load_pretrained(self.backbone, checkpoint)
        self.backbone.to(self.device).eval()
        self.preprocessor = model.data_preprocessor.to(self.device)
        text = json.dumps(cfg.model.to_dict(), default=str)
        self.meta: dict[str, Any] = {
            'features': 'encoder' if checkpoint else 'random',
            'checkpoint': checkpoint,
            'checkpoint_sha256': checkpoint and sha256_of_file(checkpoint),
            'model_sha256': hashlib.sha256(text.encode()).hexdigest(),
            'seed': None if checkpoint else seed,
            'level': self.level,
            'blocks': self.blocks,
            'depth': depth,
            'pool': self.pool,
            'amp': self.amp,
        }

    @torch.no_grad()
    def __call__(self, inputs: list[Tensor]) -> dict[str, np.ndarray]:
        """Features of a batch.

        Args:
            inputs: B of the pipeline's, all of one shape.

        Returns:
            By name, ``'features'``, or ``'features_block<K>'`` where there
            are several blocks: float32 (B, D), (B, t, D) or (B, t, h, w, D).
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
        found = {}
        for block in self.blocks:
            name = f'_block{block}' if len(self.blocks) > 1 else ''
            values = torch.cat([part[block] for part in parts])
            mean = values.unflatten(0, (len(inputs), views)).mean(1)
            found[f'features{name}'] = mean.cpu().numpy()
        return found

    def _views(self, x: Tensor) -> tuple[Tensor, int]:
        """A batch of any shape -> (B M, C, T, H, W), and M."""
        video, views = self.backbone.video, 1
        if x.ndim == 6 or (x.ndim == 5 and not video):
            views = x.shape[1]
            x = x.flatten(0, 1)
        x = x.unsqueeze(2) if x.ndim == 4 and not video else x
        if x.ndim != 5 or (not video and x.shape[2] > 1):
            raise ValueError(
                f'the pipeline gives {tuple(x.shape)}, which '
                f'{"a video" if video else "an image"} encoder does not take: '
                'pack videos with FormatShape(NCTHW) for a video encoder, '
                'and with FormatShape(NCHW) for the mean of an image '
                "encoder's features over the frames"
            )
        return x, views

    def _encode(self, x: Tensor) -> dict[int, Tensor]:
        """(b, C, T, H, W) -> pooled features by block, fp32."""
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.amp
        ):
            tokens = self.backbone.encode(x, None, self.blocks)
        _, _, frames, height, width = x.shape
        grid = self.backbone.grid((frames, height, width))
        return {
            block: self._pool(x.float(), grid) for block, x in tokens.items()
        }

    def _pool(self, tokens: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Tokens (B, L, D) -> (B, D), (B, t, D) or (B, t, h, w, D)."""
        if self.pool == 'cls':
            return tokens[:, 0]
        # The patches stand behind the class token, if there is one.
        patches = tokens[:, tokens.shape[1] - math.prod(grid) :]
        patches = patches.unflatten(1, grid)
        if self.level == 'token':
            return patches
        return patches.mean((2, 3) if self.level == 'frame' else (1, 2, 3))


def _build(cfg: Config, seed: int) -> Any:
    """The classifier of a config, with random weights of the seed."""
    config = copy.deepcopy(cfg.get('model', {}))
    encoder = config.get('backbone') or {'type': 'None'}
    known = type_name(encoder) == BIMMVisionTransformer.__name__
    if not known or not ('cls_head' in config or 'head' in config):
        raise ValueError(
            f'model {config.get("type")} with backbone {encoder["type"]}: '
            "features are extracted with a config of mmaction2's "
            "Recognizer3D or mmpretrain's ImageClassifier whose backbone is "
            'bimm_mm.BIMMVisionTransformer, such as '
            'configs/downstream/*/finetune_*.py'
        )
    # The checkpoint is the caller's, not the config's.
    config.backbone.init_cfg = None
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        # As the runner hands it to the model.
        preprocessor = cfg.get('data_preprocessor')
        return MODELS.build({'data_preprocessor': preprocessor, **config})


def trivial_features(kind: str, inputs: list[Tensor]) -> dict[str, np.ndarray]:
    """Features without learning, which a pretrained encoder must beat.

    Args:
        kind: ``'motion-energy'`` or ``'middle-frame'``.
        inputs: B of the pipeline's, uint8: (M, C, T, H, W), (C, T, H, W) or
            an image (C, H, W).

    Returns:
        ``'features'``, float32 (B, D), the mean over the views.
    """
    function = motion_energy if kind == 'motion-energy' else middle_frame
    rows = []
    for x in inputs:
        clip = x.float().unsqueeze(1) if x.ndim == 3 else x.float()
        views = clip if clip.ndim == 5 else clip.unsqueeze(0)
        rows.append(function(views).mean(0))
    return {'features': torch.stack(rows).numpy()}


def motion_energy(views: Tensor) -> Tensor:
    """How much every cell of an 8x8 grid changes from frame to frame.

    The absolute difference of adjacent frames of (M, C, T, H, W), gray (mean
    of the channels), averaged in each cell: (M, 64 (T - 1)).
    """
    if views.shape[2] < 2:
        raise ValueError(
            'motion-energy needs at least two frames of a clip, and the '
            'pipeline gives one: use middle-frame'
        )
    change = views.mean(1).diff(dim=1).abs()
    return F.adaptive_avg_pool2d(change, 8).flatten(1)


def middle_frame(views: Tensor) -> Tensor:
    """The middle frame of (M, C, T, H, W) at 16x16 pixels: (M, 256 C)."""
    frame = views[:, :, views.shape[2] // 2]
    return F.adaptive_avg_pool2d(frame, 16).flatten(1)
