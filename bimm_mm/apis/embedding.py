"""Features of files and folders, in a feature file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bimm_mm.apis.encoder import Encoder
from bimm_mm.apis.feature_file import Features, by_block
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
    dry_run: bool = False,
) -> Features:
    """Features of files, with the folder that each lies in as its class.

    ``inputs`` are files, and folders, which stand for all below them; files
    that cannot be read are left out, and listed, with ``skip_bad``; a dry run
    stops after the first. The other arguments and errors are those of
    :meth:`Encoder.embed`.

    Returns:
        What :func:`bimm_mm.apis.feature_file.write_features` writes and
        ``tools/probe.py`` reads; ``meta['classes']`` are names of folders.
    """
    paths: list[str] = []
    for each in inputs:
        folder = Path(each).is_dir()
        other = 'name others one by one'
        paths += find_media(each, others=other) if folder else [str(each)]
    if dry_run:
        paths = paths[:1]
    counts = list(blocks) or [encoder.backbone.depth]
    table = encoder.embed(
        paths,
        blocks=counts,
        batch_size=batch_size,
        progress=progress,
        skip_bad=skip_bad,
    ).numpy()
    good = np.isfinite(table[0]).all(1)
    kept = [path for path, ok in zip(paths, good, strict=True) if ok]
    folders = [Path(path).parent.name for path in kept]
    classes, labels = np.unique(folders, return_inverse=True)
    options = repr(encoder.backbone)
    meta = dict(
        features='encoder',
        checkpoint=encoder.source,
        checkpoint_sha256=digest_of_weights(encoder),
        model_sha256=hashlib.sha256(options.encode()).hexdigest(),
        seed=None,
        blocks=counts,
        pool=encoder.backbone.out_type,
        amp=False,
        classes=classes.tolist(),
        folders=[],
        skipped=[p for p, ok in zip(paths, good, strict=True) if not ok],
    )
    return Features(by_block(table[:, good], counts), labels, kept, meta)


def digest_of_weights(encoder: Encoder) -> str:
    """SHA-256 of the file of weights; without one, of the weights."""
    path = Path(encoder.source)
    if path.is_file():
        return sha256_of_file(path)
    digest = hashlib.sha256()
    for value in encoder.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()
