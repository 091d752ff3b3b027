"""Checkpoints in the forms of other projects, with a card beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from safetensors import torch as safetensors
from torch import Tensor

from bimm_mm.apis.launch import find_revision
from bimm_mm.apis.source import Source, choose_branch, read_source
from bimm_mm.models.backbones.vit import BIMMVisionTransformer
from bimm_mm.models.checkpoints.branch import (
    load_branch,
    load_model,
    pixel_area,
    take_classifier,
)
from bimm_mm.models.checkpoints.export import check_form, export_form
from bimm_mm.models.checkpoints.formats import FORMATS
from bimm_mm.models.checkpoints.load import (
    load_converted,
    name_group,
    subtree,
)
from bimm_mm.models.pretrainers.area import Area
from bimm_mm.registry import MODELS
from bimm_mm.utils.files import (
    atomic_path,
    sha256_of_file,
    write_json,
    write_text,
)

OWN = 'bimm'  # the form of this project


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

    A linear classifier of a finetuned model goes along where the form has a
    place for it. A card (Markdown) beside the file names the config, what was
    trained on, the areas and what is lost.

    Args:
        source: See :func:`bimm_mm.apis.source.read_source`.
        out: File that ends with ``.pth`` or ``.safetensors``; for the forms
            of transformers, a folder for ``from_pretrained``.
        to: A key of ``FORMATS``, or ``OWN``, as the config's model has it.
        config: If None, the one that the checkpoint holds.
        branch: ``'ventral'`` or ``'dorsal'`` of a joint checkpoint. If None,
            the one that sees what the form sees, images or videos.
        decoder: Whether the decoder that predicts pixels goes along.
        drop_cls_token: Whether to leave out a class token that the form has
            not; features then differ.

    Raises:
        ValueError: The form cannot hold the model, or an argument is wrong,
            or ``out`` or its card exists.
    """
    out = Path(out)
    _check_out(out, to)
    if to == OWN and drop_cls_token:
        raise ValueError('--drop-cls-token is for forms of other projects')
    found = read_source(source, config)
    if found.cfg is None:
        raise ValueError(
            f'{found.path} holds no config of this project: give it with '
            '--config'
        )
    prefix, model = _choose_branch(found.cfg.get('model'), to, branch)
    init_default_scope(found.cfg.get('default_scope', 'mmengine'))
    try:
        if to == OWN:
            weights, notes = _whole(model, found, prefix)
            text = Config(dict(found.cfg, model=model.to_dict())).pretty_text
            beside: dict[str, Any] = dict(meta=dict(found.meta, cfg=text))
        else:
            weights, notes, beside = _parts(
                model,
                found,
                prefix,
                to=to,
                decoder=decoder,
                drop_cls_token=drop_cls_token,
            )
    except TypeError as error:  # an option that is not, or is missing
        where = config or found.path
        raise ValueError(f'model of {where}: {error}') from error
    path = _write(out, weights, to, beside, _card(found, to, model, notes))
    return Exported(path, sha256_of_file(path), notes)


def _whole(
    model: Any, found: Source, prefix: str
) -> tuple[dict[str, Tensor], list[str]]:
    """All weights of the config's model, or of one branch."""
    backbone = dict(model.backbone, init_cfg=None)
    kind = dict(type='bimm_mm.MaskedBranch')
    built = MODELS.build({**kind, **model, 'backbone': backbone})
    load_model(built, subtree(found.state, prefix), source=found.path)
    return built.state_dict(), _left_out(found.state, [prefix])


def _parts(
    model: Any,
    found: Source,
    prefix: str,
    *,
    to: str,
    decoder: bool,
    drop_cls_token: bool,
) -> tuple[dict[str, Tensor], list[str], dict[str, Any]]:
    """Weights of encoder and decoder or classifier in a form, and notes."""
    state, source = dict(found.state), found.path
    encoder = MODELS.build(dict(model.backbone, init_cfg=None))
    check_form(encoder, to, decoder=decoder, drop_cls_token=drop_cls_token)
    inner, kept = None, [f'{prefix}backbone.']
    # What a finetuned model classifies: the mean, the class token or a map.
    read = encoder.out_type if 'areas' not in model else ''
    pooled = read == 'avg'
    head: dict[str, Tensor] = {}
    if FORMATS[to].head and (
        pooled or (read == 'cls_token' and not drop_cls_token)
    ):
        head = take_classifier(state, encoder.embed_dims)
    if decoder:
        area = _pixel_area(model, encoder, to)
        inner = area.decoder
        kept += [f'{prefix}head.areas.{area.name}.decoder.']
        load_branch(encoder, area, state, source=source, prefix=prefix)
    else:
        # It may be of another project, whose names are found out.
        start = f'{prefix}backbone.' if prefix else None
        load_converted(encoder, state, source=source, prefix=start)
    weights, lost, beside = export_form(
        encoder, to, decoder=inner, head=head, pooled=pooled
    )
    return weights, [*_left_out(state, kept), *lost], beside


def _check_out(out: Path, to: str) -> None:
    """Before anything is read: nothing that is there is replaced."""
    folder = to.startswith('hf-')
    if folder == (out.suffix in ('.pth', '.safetensors')):
        wanted = 'end with .pth or .safetensors'
        if folder:
            wanted = 'be the name of a new folder'
        raise ValueError(f'{out} must {wanted}, as {to} writes it')
    for path in (out,) if folder else (out, out.with_suffix('.md')):
        if path.exists():
            raise ValueError(
                f'{path} exists: give the name of a new '
                f'{"folder" if folder else "file, beside which goes its card"}'
            )


def _choose_branch(model: Any, to: str, branch: str | None) -> tuple[str, Any]:
    """What precedes the keys of one branch, and its config."""
    joint = isinstance(model, Mapping) and 'ventral' in model
    if joint and to == OWN and branch is None:
        raise ValueError(
            f'{OWN} holds one branch of the two: choose it by --branch'
        )
    video = to != OWN and FORMATS[to].video
    seen = 'dorsal' if video else 'ventral'
    return choose_branch(model, branch, otherwise=seen)


def _pixel_area(model: Any, encoder: BIMMVisionTransformer, to: str) -> Area:
    """Build the one area whose decoder the form can hold."""
    areas = [
        MODELS.build({'type': 'bimm_mm.Area', **area, 'backbone': encoder})
        for area in model.get('areas', ())
    ]
    try:
        return pixel_area(areas, encoder)
    except ValueError as error:
        raise ValueError(
            f'{to} cannot hold the decoder: {error}. Leave out --decoder to '
            'write the encoder alone'
        ) from None


def _left_out(state: Mapping[str, Tensor], kept: list[str]) -> list[str]:
    """How many tensors of the checkpoint the form does not get, and which."""
    left = [key for key in state if not key.startswith(tuple(kept))]
    if len(left) == len(state):  # of another project: the log says it
        return []
    parts = Counter(name_group(key) for key in left)
    return [f'{count} tensors of {part}' for part, count in parts.items()]


def _card(found: Source, to: str, model: Any, notes: list[str]) -> str:
    """Markdown: where the weights come from and what they can do."""
    cfg: Any = found.cfg
    path = Path(found.path)
    digest = sha256_of_file(path) if path.is_file() else 'unknown'
    areas = [
        f'{area.name} after block {area.after_block} ({area.decoder.type}, '
        f'{area.target.type})'
        for area in model.get('areas', ())
    ]
    rows = {
        'from': f'{path.name}, SHA-256 {digest}',
        'trained': f'epoch {found.meta.get("epoch")}, '
        f'{found.meta.get("time")}',
        'config': found.meta.get('experiment_name'),
        'areas': ', '.join(areas) or 'none, a finetuned model',
        'converted by': f'bimm_mm {find_revision()}',
        'not in it': '; '.join(notes) or 'nothing',
    }
    # Encoder, normalization of pixels and dataset.
    parts = ('data_preprocessor', 'train_dataloader')
    text = Config(
        {k: cfg[k] for k in parts if cfg.get(k)} | {'model': cfg.model}
    ).pretty_text
    listed = ''.join(f'- {k}: {v}\n' for k, v in rows.items())
    return (
        f'# Weights of bimm_mm in the form of {to}\n\n{listed}\n'
        f'```python\n{text}```\n'
    )


def _write(
    out: Path,
    weights: dict[str, Tensor],
    to: str,
    beside: dict[str, Any],
    card: str,
) -> Path:
    """A file, or a folder, whole or not at all; then the card of a file."""
    folder = to.startswith('hf-')
    container = 'state_dict' if to == OWN else FORMATS[to].container
    inside = {container: weights, **beside} if container else weights
    with atomic_path(out, folder=folder) as draft:
        if folder:
            write_json(beside, draft / 'config.json')
            write_text(card, draft / 'README.md')
        file = draft / 'model.safetensors' if folder else draft
        with open(file, 'wb') as stream:
            if file.suffix == '.safetensors':
                stream.write(safetensors.save(weights, {'format': 'pt'}))
            else:
                torch.save(inside, stream)
    if folder:
        return out / 'model.safetensors'
    write_text(card, out.with_suffix('.md'))
    return out
