"""Files that are either whole or not there."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to; move it in place at the end.

    Args:
        path (str | Path): The final path; its folder is made.

    Yields:
        Path: A path in the same folder, with the same suffix.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'.{os.getpid()}_{path.name}')
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(text: str, path: str | Path) -> None:
    """Write text in one piece."""
    with atomic(path) as draft:
        draft.write_text(text, encoding='utf-8')


def write_json(content: Any, path: str | Path) -> None:
    """Write readable JSON in one piece; numbers that are none as null."""
    text = json.dumps(_strict(content), indent=2, allow_nan=False)
    write_text(text + '\n', path)


def _strict(content: Any) -> Any:
    """JSON has no NaN, no infinity and no NumPy, which metrics may have."""
    if isinstance(content, np.generic):
        content = content.item()
    if isinstance(content, dict):
        return {key: _strict(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_strict(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
