"""Features of files and folders, in a feature file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bimm_mm.apis.encoder import Encoder
from bimm_mm.apis.feature_file import Features
from bimm_mm.utils.files import sha256_of_file
from bimm_mm.utils.media import find_media


def embed_files(
    encoder: Encoder,
    inputs: Sequence[str | Path],
    *,
    blocks: Sequence[int] = (),
    batch_size: int = 8,
    progress: bool = True,
    skip_bad: bool = False,
) -> Features:
    """Features of files, with the folder that each lies in as its class.

    Args:
        encoder: From :func:`bimm_mm.load_encoder`.
        inputs: Files, and folders, which stand for all below them.
        blocks: See :meth:`Encoder.embed`, as the other arguments.
        batch_size: Likewise.
        progress: Likewise.
        skip_bad: Whether files that cannot be read are left out, and listed.

    Returns:
        What :func:`bimm_mm.apis.feature_file.write_features` writes and
        ``tools/probe.py`` reads; ``meta['classes']`` are names of folders.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: See :meth:`Encoder.embed`.
    """
    paths = [path for each in inputs for path in _files(each)]
    counts = list(blocks) or [encoder.backbone.depth]
    rows = encoder.embed(
        paths,
        blocks=counts,
        batch_size=batch_size,
        progress=progress,
        skip_bad=skip_bad,
    ).numpy()
    good = np.isfinite(rows[0]).all(1)
    kept = [path for path, ok in zip(paths, good, strict=True) if ok]
    folders = [Path(path).parent.name for path in kept]
    classes = sorted(set(folders))
    names = [f'features_block{count}' for count in counts]
    names = names if counts[1:] else ['features']
    options = repr(encoder.backbone)
    meta = dict(
        features='encoder',
        checkpoint=encoder.source,
        checkpoint_sha256=_digest(encoder),
        model_sha256=hashlib.sha256(options.encode()).hexdigest(),
        seed=None,
        blocks=counts,
        pool=encoder.backbone.out_type,
        amp=False,
        classes=classes,
        folders=[],
        skipped=[p for p, ok in zip(paths, good, strict=True) if not ok],
    )
    labels = [classes.index(folder) for folder in folders]
    return Features(
        {name: x[good] for name, x in zip(names, rows, strict=True)},
        np.asarray(labels, dtype=np.int64),
        kept,
        meta,
    )


def _digest(encoder: Encoder) -> str:
    """SHA-256 of the file of weights; without one, of the weights."""
    path = Path(encoder.source).expanduser()
    if path.is_file():
        return sha256_of_file(path)
    digest = hashlib.sha256()
    for value in encoder.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()


def _files(path: str | Path) -> list[str]:
    if Path(path).is_dir():
        return find_media(path, others='name others one by one')
    return [str(path)]
