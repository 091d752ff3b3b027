"""Small SAMs of random weights whose masks are blobs, and real frames."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('segment_anything', reason='SAM is not installed')

from segment_anything import SamPredictor, modeling

SIDE = 256


@dataclass
class Picture:
    """A frame as the official code wants it, and as ours does."""

    array: np.ndarray

    @property
    def frames(self) -> torch.Tensor:
        return torch.from_numpy(self.array).permute(2, 0, 1)[None]

    @property
    def size(self) -> tuple[int, int]:
        return self.array.shape[0], self.array.shape[1]


def _build(window: int) -> torch.nn.Module:
    """The official modules in sizes that a CPU computes at once."""
    return modeling.Sam(
        modeling.ImageEncoderViT(
            img_size=SIDE,
            embed_dim=64,
            depth=2,
            num_heads=2,
            out_chans=64,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=window,
            global_attn_indexes=(1,),
        ),
        modeling.PromptEncoder(
            embed_dim=64,
            image_embedding_size=(SIDE // 16, SIDE // 16),
            input_image_size=(SIDE, SIDE),
            mask_in_chans=8,
        ),
        modeling.MaskDecoder(
            transformer_dim=64,
            transformer=modeling.TwoWayTransformer(
                depth=2, embedding_dim=64, num_heads=8, mlp_dim=128
            ),
            iou_head_hidden_dim=64,
        ),
    ).eval()


@pytest.fixture(scope='session')
def make_sam():
    """Build a small SAM; no weight is left at its initial 0 or 1."""

    def make(seed: int = 0, window: int = 7) -> torch.nn.Module:
        torch.manual_seed(seed)
        model = _build(window)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if 'rel_pos' in name or 'pos_embed' in name:
                    weight.normal_(std=0.3)
                elif weight.ndim == 1:
                    weight.add_(0.1 * torch.randn_like(weight))
                elif 'transformer' in name:
                    weight.mul_(2)
            decoder = model.mask_decoder
            # Alike for neighboring pixels: blobs, not a checkerboard.
            for layer in decoder.output_upscaling[::3]:
                noise = 0.1 * layer.weight
                layer.weight.copy_(
                    layer.weight[..., :1, :1].expand_as(noise) + noise
                )
            # A channel that is 1 everywhere: its weight shifts all logits.
            last = decoder.output_upscaling[3]
            last.weight[:, 0], last.bias[0] = 0, 1
            for head in decoder.output_hypernetworks_mlps:
                head.layers[0].weight.mul_(2)
                head.layers[1].weight.mul_(2)
                head.layers[2].weight.mul_(100)
                head.layers[2].weight[0], head.layers[2].bias[0] = 0, 0
            # The prompt shall matter more than what is always the same.
            decoder.mask_tokens.weight.mul_(0.2)
            decoder.iou_token.weight.mul_(0.2)
            model.prompt_encoder.not_a_point_embed.weight.mul_(0.2)
            model.prompt_encoder.point_embeddings[1].weight.mul_(0.2)
            decoder.iou_prediction_head.layers[-1].weight.mul_(10)
            center(model)
        return model

    return make


def center(model: torch.nn.Module) -> None:
    """Shift logits such that masks cover half of a frame, or less."""
    predictor = SamPredictor(model)
    rng = np.random.default_rng(1)
    noise = rng.uniform(0, 255, (6, 8, 3)).astype(np.uint8)
    predictor.set_image(cv2.resize(noise, (256, 200)))
    points = torch.rand(40, 1, 2) * torch.tensor([256.0, 200.0])
    _, iou, low = predictor.predict_torch(points, torch.ones(40, 1))
    heads = model.mask_decoder.output_hypernetworks_mlps[1:]
    for i, head in enumerate(heads):
        part = low[:, i]
        shift = part.mean() + (0.5 + 0.5 * i) * part.std()
        head.layers[2].bias[0] -= shift / 0.8413  # GELU of 1
    # None of the three is always the best.
    last = model.mask_decoder.iou_prediction_head.layers[-1]
    last.bias[1:] += 2 - iou.mean(0)


@pytest.fixture(scope='session')
def small_sam(make_sam):
    return make_sam()


@pytest.fixture(scope='session')
def pictures(data_root) -> dict[str, Picture]:
    """Of several shapes: wide, high, larger and smaller than SAM's input."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(0, 255, (6, 8, 3)).astype(np.uint8)
    image = sorted((data_root / 'image_mini').rglob('*.jpg'))[0]
    video = cv2.VideoCapture(str(sorted(data_root.glob('clips/*.mp4'))[0]))
    read, frame = video.read()
    assert read
    return {
        'synthetic': Picture(cv2.resize(noise, (150, 110))),
        'image': Picture(_shrink(cv2.imread(str(image)), 300)),
        'frame': Picture(_shrink(frame, 200)),
        'high': Picture(_shrink(np.rot90(frame), 180)),
    }


def _shrink(picture: np.ndarray, side: int) -> np.ndarray:
    """BGR -> RGB whose longer edge has ``side`` pixels."""
    scale = side / max(picture.shape[:2])
    return cv2.resize(
        np.ascontiguousarray(picture[..., ::-1]),
        None,
        fx=scale,
        fy=scale,
        interpolation=cv2.INTER_AREA,
    )
