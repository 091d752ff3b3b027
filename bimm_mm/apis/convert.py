"""Checkpoints in the forms of other projects, with a card beside them."""

from __future__ import annotations

import ast
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from safetensors import torch as safetensors
from torch import Tensor

from bimm_mm.apis.config import load_config
from bimm_mm.apis.launch import find_revision
from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.models.checkpoints.export import (
    check_form,
    export_state,
    hf_config,
    losses,
)
from bimm_mm.models.checkpoints.formats import FORMATS, Format
from bimm_mm.models.checkpoints.load import (
    find_weights,
    load_fully,
    load_pretrained,
    name_group,
    read_content,
    subtree,
)
from bimm_mm.models.decoders.transformer import TransformerDecoder
from bimm_mm.models.pretrainers.area import Area
from bimm_mm.registry import MODELS
from bimm_mm.targets.pixel import PixelTarget
from bimm_mm.utils.files import (
    atomic_path,
    sha256_of_file,
    write_bytes,
    write_json,
    write_text,
)


class Exported(NamedTuple):
    """What was written."""

    path: Path  # of the weights
    sha256: str
    notes: list[str]  # what the form does not hold


def convert_checkpoint(
    source: str | Path,
    out: str | Path,
    *,
    to: str,
    config: str | Path | None = None,
    branch: str | None = None,
    decoder: bool = False,
    drop_cls_token: bool = False,
) -> Exported:
    """Write the encoder of a checkpoint as another project reads it.

    A card (Markdown) beside it names the config, what was trained on, the
    areas and what is lost.

    Args:
        source: Checkpoint of this project, or one that its encoder can load.
        out: File that ends with ``.pth`` or ``.safetensors``; for the forms
            of transformers, a folder for ``from_pretrained``.
        to: The form: ``'mae'``, ``'videomae'``, ``'timm'``,
            ``'hf-videomae'``, ``'hf-vitmae'``, ``'mmaction2'`` or
            ``'mmpretrain'``.
        config: Its config. If None, the one that the checkpoint holds.
        branch: ``'ventral'`` or ``'dorsal'`` of a joint checkpoint. If None,
            the one that sees what the form sees, images or videos.
        decoder: Whether the decoder that predicts pixels goes along.
        drop_cls_token: Whether to leave out a class token that the form has
            not; features then differ.

    Raises:
        FileNotFoundError: There is no such checkpoint or config.
        OSError: It cannot be written.
        ValueError: The form cannot hold the model, or an argument is wrong,
            or ``out`` or its card exists.
    """
    form, out = FORMATS[to], Path(out)
    _check_out(out, to)
    content = read_content(source)
    state = find_weights(content, source=str(source))
    meta = content.get('meta') or {} if isinstance(content, dict) else {}
    cfg = _config(meta, config, source)
    prefix, model = _choose_branch(cfg.get('model', {}), form, branch)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    try:
        encoder = MODELS.build(dict(model.backbone, init_cfg=None))
    except TypeError as error:  # an option that is not, or is missing
        raise ValueError(
            f'model.backbone of {config or source}: {error}'
        ) from error
    # They may be of another project, whose names are found out.
    load_pretrained(
        encoder, str(source), f'{prefix}backbone.' if prefix else None
    )
    check_form(encoder, to, decoder=decoder, drop_cls_token=drop_cls_token)
    inner, kept = None, [f'{prefix}backbone.']
    if decoder:
        area = _pixel_area(model, encoder, to)
        inner = area.decoder
        kept += [f'{prefix}head.areas.{area.name}.decoder.']
        load_fully(
            inner, subtree(state, kept[1]), what='decoder', source=kept[1]
        )
    pooled = model.backbone.get('out_type') == 'avg' and 'areas' not in model
    weights = export_state(
        encoder,
        to,
        decoder=inner,
        pooled=pooled,
        drop_cls_token=drop_cls_token,
    )
    notes = [
        *_left_out(state, kept),
        *losses(encoder, to, decoder=inner, pooled=pooled),
    ]
    card = _card(source, to, meta, cfg, model, notes)
    if to.startswith('hf-'):
        config_json = hf_config(encoder, to, inner)
        path = _write_folder(out, weights, config_json, card)
    else:
        path = _write_file(out, weights, form, card)
    return Exported(path, sha256_of_file(path), notes)


def _check_out(out: Path, to: str) -> None:
    """Before anything is read: nothing that is there is replaced."""
    folder = to.startswith('hf-')
    if folder and out.suffix in ('.pth', '.safetensors'):
        raise ValueError(
            f'{to} writes a folder, and {out} is named like a file: give the '
            'name of a new folder'
        )
    if not folder and out.suffix not in ('.pth', '.safetensors'):
        raise ValueError(f'{out} must end with .pth or .safetensors')
    for path in (out,) if folder else (out, out.with_suffix('.md')):
        if path.exists():
            raise ValueError(
                f'{path} exists: give the name of a new '
                f'{"folder" if folder else "file, beside which goes its card"}'
            )


def _config(
    meta: Mapping[str, Any], path: str | Path | None, source: str | Path
) -> Config:
    """The config given, or that of the checkpoint, which is not run."""
    if path is not None:
        cfg = load_config(path)
    else:
        try:
            cfg = Config(_parse_config(meta['cfg']))
        except (
            AttributeError,  # a statement that assigns nothing
            KeyError,
            TypeError,
            ValueError,
            SyntaxError,
        ) as error:
            raise ValueError(
                f'{source} holds no config of this project: give it with '
                '--config'
            ) from error
    return cfg


def _parse_config(text: str) -> dict[str, Any]:
    """Read assignments of literals and ``dict(...)``, as MMEngine writes."""
    return {
        statement.targets[0].id: _value(statement.value)  # type: ignore
        for statement in ast.parse(text).body
    }


def _value(node: ast.AST) -> Any:
    if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'dict':
        return {str(k.arg): _value(k.value) for k in node.keywords}
    if isinstance(node, ast.Dict):
        keys = [ast.literal_eval(key) for key in node.keys if key]
        return dict(zip(keys, map(_value, node.values), strict=True))
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_value(item) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    return ast.literal_eval(node)  # type: ignore[arg-type]


def _choose_branch(
    model: Any, form: Format, branch: str | None
) -> tuple[str, Any]:
    """What precedes the keys of one branch, and its config."""
    prefix = ''
    if isinstance(model, Mapping) and 'ventral' in model:
        name = branch or ('dorsal' if form.video else 'ventral')
        prefix, model = f'{name}.', model.get(name)
    elif branch is not None:
        raise ValueError(
            f'--branch {branch}: the model has one encoder, leave it out'
        )
    try:
        kind = MODELS.get(str(model['backbone']['type']))
    except (KeyError, TypeError):
        kind = None
    if kind is None or not issubclass(kind, BIMMVisionTransformer):
        raise ValueError(
            'the config has no bimm_mm.BIMMVisionTransformer in '
            'model.backbone, model.ventral or model.dorsal'
        )
    return prefix, model


def _pixel_area(model: Any, encoder: BIMMVisionTransformer, to: str) -> Area:
    """Build the one area whose decoder the form can hold."""
    norm, areas = FORMATS[to].target_norm, model.get('areas', ())
    built = [
        MODELS.build({'type': 'bimm_mm.Area', **area, 'backbone': encoder})
        for area in areas
        if area.after_block == encoder.depth
        and MODELS.get(area.decoder.type) is TransformerDecoder
        and MODELS.get(area.target.type) is PixelTarget
    ]
    fit = [a for a in built if (a.target.norm, a.target.every) == (norm, 1)]
    if len(fit) != 1:
        names = ', '.join(area.name for area in areas)
        raise ValueError(
            f'{to} holds one TransformerDecoder after the last block that '
            f'predicts PixelTarget(norm={norm!r}) of all frames, and '
            f'{len(fit)} of the areas ({names or "none"}) have that: leave '
            'out --decoder to write the encoder alone'
        )
    return fit[0]


def _left_out(state: Mapping[str, Tensor], kept: list[str]) -> list[str]:
    """How many tensors of the checkpoint the form does not get, and which."""
    left = [key for key in state if not key.startswith(tuple(kept))]
    if len(left) == len(state):  # of another project: the log says it
        return []
    parts = Counter(name_group(key) for key in left)
    return [f'{count} tensors of {part}' for part, count in parts.items()]


def _card(
    source: str | Path,
    to: str,
    meta: Mapping[str, Any],
    cfg: Config,
    model: Any,
    notes: list[str],
) -> str:
    """Markdown: where the weights come from and what they can do."""
    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    while 'dataset' in dataset:  # of a wrapper
        dataset = dataset['dataset']
    where = dataset.get('ann_file') or dataset.get('data_root') or ''
    pixels = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
    mean, std = ((pixels or {}).get(key) for key in ('mean', 'std'))
    areas = [
        f'{area.name} after block {area.after_block} ({area.decoder.type}, '
        f'{area.target.type})'
        for area in model.get('areas', ())
    ]
    rows = {
        'from': f'{Path(source).name}, SHA-256 {_digest(source)}',
        'trained': f'epoch {meta.get("epoch")}, {meta.get("time")}',
        'config': meta.get('experiment_name'),
        'encoder': model.backbone.to_dict(),
        'areas': ', '.join(areas) or 'none, a finetuned model',
        'dataset': f'{dataset.get("type")} {where}',
        'pixels in 0..255': f'mean {mean}, deviation {std}'
        if mean
        else "ImageNet's mean and deviation",
        'converted by': f'bimm_mm {find_revision()}',
        'not in it': '; '.join(notes) or 'nothing',
    }
    title = f'# Weights of bimm_mm in the form of {to}\n\n'
    return title + ''.join(f'- {k}: {v}\n' for k, v in rows.items())


def _digest(source: str | Path) -> str:
    path = Path(source).expanduser()
    return sha256_of_file(path) if path.is_file() else 'unknown'


def _write_file(
    out: Path, weights: dict[str, Tensor], form: Format, card: str
) -> Path:
    """Without its card, the file does not appear."""
    with atomic_path(out) as draft, open(draft, 'wb') as file:
        if out.suffix == '.safetensors':
            file.write(safetensors.save(weights, {'format': 'pt'}))
        else:
            inside = {form.container: weights} if form.container else weights
            torch.save(inside, file)
        write_text(card, out.with_suffix('.md'))
    return out


def _write_folder(
    out: Path, weights: dict[str, Tensor], config: dict[str, Any], card: str
) -> Path:
    """A folder appears whole or not at all."""
    try:
        if not out.parent.exists():
            out.parent.mkdir(parents=True)
        draft = Path(tempfile.mkdtemp(prefix='.', dir=out.parent))
    except OSError as error:  # it names the draft
        raise OSError(error.errno, error.strerror, str(out)) from error
    try:
        content = safetensors.save(weights, {'format': 'pt'})
        write_bytes(content, draft / 'model.safetensors')
        write_json(config, draft / 'config.json')
        write_text(card, draft / 'README.md')
        draft.chmod(0o755)  # mkdtemp's is private
        os.rename(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return out / 'model.safetensors'
