"""An encoder as a file for other programs: weights alone, or all it computes.

Shapes: B clips, T frames, H x W pixels, D width.
"""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from safetensors import torch as safetensors
from torch import Tensor, nn
from torch.export import Dim

from bimm_mm.apis.encoder import Encoder
from bimm_mm.utils.files import write_bytes

# Protocol buffers, which ONNX files are, hold no more.
_ONNX_BYTES = 2**31 - 2**20


def export(encoder: Encoder, path: str | Path) -> Path:
    """Write an encoder, without optimizer and decoders, for any batch size.

    Args:
        encoder: From :func:`bimm_mm.load_encoder`, of any device.
        path: The ending says what is written. ``.safetensors``: weights by
            timm's names, and the options, for :func:`bimm_mm.load_encoder`.
            ``.pt2``: a program for ``torch.export.load``. ``.onnx``: for
            onnxruntime and others. Programs take normalized clips
            (B, 3, T, H, W), T being 1 for images, and give features (B, D);
            mean, deviation, size and frame interval are in the file.

    Raises:
        ImportError: If onnx is not installed.
        ValueError: If the ending is another, or ONNX cannot hold the model.
    """
    path = Path(path)
    if path.suffix not in _WRITERS:
        raise ValueError(
            f'{path} must end with one of {", ".join(_WRITERS)}, which says '
            'what is written'
        )
    # The caller's stays on its device and in its mode.
    model = copy.deepcopy(encoder).cpu().eval().requires_grad_(False)
    write_bytes(_WRITERS[path.suffix](model), path)
    return path


def _safetensors(encoder: Encoder) -> bytes:
    facts = _facts(encoder)
    backbone = {'type': 'bimm_mm.BIMMVisionTransformer'}
    cfg = Config(
        dict(
            model=dict(backbone=backbone | encoder.options),
            data_preprocessor=dict(mean=facts['mean'], std=facts['std']),
            frame_interval=facts['frame_interval'],
        )
    )
    meta = {'format': 'pt', 'cfg': cfg.pretty_text}
    return safetensors.save(encoder.backbone.state_dict(), meta)


def _program(encoder: Encoder) -> bytes:
    encoder = _store_positions(encoder)
    batch = {0: Dim('batch')}
    program = torch.export.export(
        encoder, (_example(encoder),), dynamic_shapes=(batch,)
    )
    program.example_inputs = None  # zeros, which would be written, too
    content = io.BytesIO()
    facts = {'bimm_mm.json': json.dumps(_facts(encoder))}
    torch.export.save(program, content, extra_files=facts)
    return content.getvalue()


def _onnx(encoder: Encoder) -> bytes:
    try:
        import onnx
        import onnxscript  # noqa: F401  (which PyTorch needs)
    except ImportError as error:
        raise ImportError(
            'writing .onnx files needs onnx and onnxscript: pip install '
            '"bimm_mm[export]"'
        ) from error
    size = sum(x.nbytes for x in encoder.backbone.state_dict().values())
    if size > _ONNX_BYTES:
        raise ValueError(
            f'an ONNX file holds 2 GB, and the encoder has {size / 1e9:.1f} '
            'GB of weights: write .pt2'
        )
    program = torch.onnx.export(
        _store_positions(encoder),
        (_example(encoder),),
        input_names=['clip'],
        output_names=['features'],
        dynamic_shapes=({0: Dim('batch')},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    facts = {key: json.dumps(value) for key, value in _facts(encoder).items()}
    onnx.helper.set_model_props(model, facts)
    return model.SerializeToString()


_WRITERS = {'.safetensors': _safetensors, '.pt2': _program, '.onnx': _onnx}


def _store_positions(encoder: Encoder) -> Encoder:
    """Keep the table of positions as weights, in place.

    Its formula has double precision, which onnxruntime has no cosine for.
    """
    backbone = encoder.backbone
    table = backbone._positions(backbone.size)[None].clone()
    backbone.pos_embed = nn.Parameter(table, requires_grad=False)
    backbone.interpolate_from = None
    return encoder


def _example(encoder: Encoder) -> Tensor:
    return torch.zeros(
        2, encoder.backbone.patch_embed.in_channels, *encoder.size
    )


def _facts(encoder: Encoder) -> dict[str, Any]:
    """What a caller must know of the input."""
    return dict(
        size=list(encoder.size),
        mean=encoder.mean.flatten().tolist(),
        std=encoder.std.flatten().tolist(),
        frame_interval=encoder.frame_interval,
    )
