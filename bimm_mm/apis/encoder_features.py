"""Features of an encoder's blocks, and trivial ones to compare them with.

Shapes: B samples, M views (clips x crops), C channels, T frames, H x W
pixels; N tokens; L = N, or N + 1 with a class token; D width.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import MODELS
from torch import Tensor

from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.models.checkpoints.load import load_pretrained
from bimm_mm.utils.files import sha256_of_file
from bimm_mm.utils.list_file import type_name

POOLS = ('cls', 'avg')


class EncoderFeatures:
    """From packed inputs to pooled features after any block of an encoder.

    Arguments and errors are those of
    :func:`bimm_mm.apis.extract_features`.
    """

    def __init__(
        self,
        cfg: Config,
        checkpoint: str | None,
        *,
        blocks: Sequence[int] = (),
        pool: str | None = None,
        device: str | None = None,
        amp: bool = False,
        seed: int = 0,
    ) -> None:
        model = _build(cfg, seed)
        self.backbone: BIMMVisionTransformer = model.backbone
        self.blocks = list(blocks) or [self.backbone.depth]
        self.prefix_tokens = int(self.backbone.cls_token is not None)
        self.pool = pool or POOLS[not self.prefix_tokens]
        if self.pool == 'cls' and not self.prefix_tokens:
            raise ValueError('the encoder has no class token: use pool=avg')
        if checkpoint is None:
            print_log(
                f'NO CHECKPOINT: features of random weights, seed {seed}',
                'current',
                logging.WARNING,
            )
        else:
            load_pretrained(self.backbone, checkpoint)
        default = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.device = torch.device(device or default)
        self.amp = amp
        self.backbone.to(self.device).eval()
        self.preprocessor = model.data_preprocessor.to(self.device)
        text = json.dumps(cfg.model.to_dict(), default=str)
        self.meta: dict[str, Any] = {
            'features': 'encoder' if checkpoint else 'random',
            'checkpoint': checkpoint,
            'checkpoint_sha256': checkpoint and sha256_of_file(checkpoint),
            'model_sha256': hashlib.sha256(text.encode()).hexdigest(),
            'seed': None if checkpoint else seed,
            'blocks': self.blocks,
            'pool': self.pool,
            'amp': amp,
        }

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> dict[str, np.ndarray]:
        """Features of a batch.

        Args:
            inputs: B samples as the pipeline packs them.

        Returns:
            By name, ``'features'``, or ``'features_block<K>'`` where there
            are several blocks: float32 (B, D), the mean over the views.
        """
        batch = {'inputs': list(inputs), 'data_samples': None}
        x = self._views(self.preprocessor(batch)['inputs'])
        # As many clips at a time as there are samples, whatever the views.
        parts = [self._encode(part) for part in x.split(len(inputs))]
        found = {}
        for index, block in enumerate(self.blocks):
            views = torch.cat([part[index] for part in parts])
            mean = views.unflatten(0, (len(inputs), -1)).mean(1)
            name = f'features_block{block}' if self.blocks[1:] else 'features'
            found[name] = mean.cpu().numpy()
        return found

    def _views(self, x: Tensor) -> Tensor:
        """A batch of any shape -> (B M, C, T, H, W)."""
        video = self.backbone.video
        if x.ndim == 6 or (x.ndim == 5 and not video):
            x = x.flatten(0, 1)
        if x.ndim == 4 and not video:
            x = x.unsqueeze(2)
        if x.ndim != 5 or (not video and x.shape[2] > 1):
            raise ValueError(
                f'the pipeline gives {tuple(x.shape)}, which '
                f'{"a video" if video else "an image"} encoder does not take: '
                'pack videos with FormatShape(NCTHW) for a video encoder, '
                'and with FormatShape(NCHW) for the mean of an image '
                "encoder's features over the frames"
            )
        return x

    def _encode(self, x: Tensor) -> list[Tensor]:
        """(b, C, T, H, W) -> pooled features (b, D) of every block, fp32."""
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.amp
        ):
            tokens = self.backbone.encode(x, None, self.blocks)
        found = [tokens[block].float() for block in self.blocks]
        if self.pool == 'cls':
            return [x[:, 0] for x in found]
        # The patches stand behind the class token, if there is one.
        return [x[:, self.prefix_tokens :].mean(1) for x in found]


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


def motion_energy(clips: Tensor) -> Tensor:
    """How much every cell of an 8x8 grid changes from frame to frame.

    The absolute difference of adjacent frames of (M, C, T, H, W), gray (mean
    of the channels), averaged in each cell: (M, 64 (T - 1)).
    """
    if clips.shape[2] < 2:
        raise ValueError(
            'motion-energy needs at least two frames of a clip, and the '
            'pipeline gives one: use middle-frame'
        )
    change = clips.mean(1).diff(dim=1).abs()
    return F.adaptive_avg_pool2d(change, 8).flatten(1)


def middle_frame(clips: Tensor) -> Tensor:
    """The middle frame of (M, C, T, H, W) at 16x16 pixels: (M, 256 C)."""
    frame = clips[:, :, clips.shape[2] // 2]
    return F.adaptive_avg_pool2d(frame, 16).flatten(1)


# Features without learning, which a pretrained encoder must beat.
TRIVIAL = {'motion-energy': motion_energy, 'middle-frame': middle_frame}


def trivial_features(kind: str, inputs: Tensor) -> dict[str, np.ndarray]:
    """One of ``TRIVIAL``, as float32 (B, D), the mean over the views.

    Args:
        kind: Its name.
        inputs: As the pipeline packs them, uint8: (B, M, C, T, H, W),
            (B, C, T, H, W) or images (B, C, H, W).
    """
    x = inputs.unsqueeze(2) if inputs.ndim == 4 else inputs
    x = x.unsqueeze(1) if x.ndim == 5 else x
    rows = [TRIVIAL[kind](views.float()).mean(0) for views in x]
    return {'features': torch.stack(rows).numpy()}
