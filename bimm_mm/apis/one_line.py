"""Mistakes that come out while a run is built, in one line each."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config

from bimm_mm.engine.runner import StrictRunner
from bimm_mm.utils.reading import WorkerDiedError


@contextmanager
def one_line_errors(cfg: Config, *, debug: bool) -> Iterator[None]:
    """End the process with one line if a run fails before its first step.

    Args:
        cfg: The config that is built; the line names its key.
        debug: Whether to let errors through, with their traceback.

    Raises:
        SystemExit: With status 2, in place of an error before the first step
            was done, and of that of a worker which died. Later errors pass
            unchanged.
    """
    StrictRunner.began = False
    try:
        yield
    except Exception as error:
        died = isinstance(error, WorkerDiedError)
        if debug or (StrictRunner.began and not died):
            raise
        name = Path(sys.argv[0]).name
        print(
            f'{name}: error: {explain(error, cfg)} (--debug shows the '
            'traceback)',
            file=sys.stderr,
        )
        raise SystemExit(1 if died else 2) from None


def explain(error: Exception, cfg: Config) -> str:
    """An error as one line, with the key of the part that was being built.

    MMEngine builds every part of a config in a function of its own, whose
    arguments the traceback still has.
    """
    where = ''
    parts = cfg.to_dict()
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_name == 'build_from_cfg':
            where = find_key(parts, frame.f_locals.get('cfg')) or where
        trace = trace.tb_next
    text = ' '.join(str(error).split()) or 'no reason is given'
    kind = type(error).__name__
    if not isinstance(error, (FileNotFoundError, ValueError)):
        text = f'{kind}: {text}'
    return f'{where}: {text}' if where else text


def find_key(node: Any, part: Any, key: str = '') -> str:
    """Dotted key of the first node that a part was made from; '' if none."""
    if key and _is_from(part, node):
        return key
    items: Any = ()
    if isinstance(node, Mapping):
        items = node.items()
    elif isinstance(node, Sequence) and not isinstance(node, str):
        items = enumerate(node)
    for name, item in items:
        if isinstance(item, (Mapping, list, tuple)):
            found = find_key(item, part, f'{key}.{name}'.lstrip('.'))
            if found:
                return found
    return ''


def _is_from(part: Any, node: Any) -> bool:
    """Whether a part has all that a node says; builders add arguments."""
    return (
        isinstance(node, Mapping)
        and isinstance(part, Mapping)
        and 'type' in node
        and all(k in part and part[k] == v for k, v in node.items())
    )
