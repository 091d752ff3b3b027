"""Mistakes that come out while a run is built, in one line each."""

from __future__ import annotations

import os
import sys
import textwrap
import time
import traceback
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmcv.transforms import BaseTransform
from mmengine.config import Config
from torch import nn

from bimm_mm.engine.runner import StrictRunner
from bimm_mm.utils.config_parts import walk
from bimm_mm.utils.remedies import remedy

# What launchers call the number of a process.
_RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
# For so long others than the first wait before they tell a mistake: where all
# have made the same, the launcher ends them as soon as the first has told it.
_WAIT = 5  # s
# Functions of MMEngine that build parts, and what they call the config.
_BUILDERS = {'build_from_cfg': 'cfg', 'build_dataloader': 'dataloader'}


@contextmanager
def one_line_errors(args: Namespace) -> Iterator[None]:
    """End the process with one line if a run fails before its first step.

    Args:
        args: Of the command line. ``debug`` lets errors through, with their
            traceback; ``cfg``, once it is there, is the config that is
            built, whose key the line names.

    Raises:
        SystemExit: With status 2, in place of an error before the first step
            was done; with 1 wherever another process died, or a file may not
            be used. Other errors pass unchanged.
    """
    StrictRunner.began = False
    try:
        yield
    except Exception as error:
        told = isinstance(error, ChildProcessError) or remedy(error)
        if args.debug or (StrictRunner.began and not told):
            raise
        if any(int(os.environ.get(key, 0)) for key in _RANKS):
            time.sleep(_WAIT)
        name = Path(sys.argv[0]).name
        cfg = getattr(args, 'cfg', None) or Config()
        print(
            f'{name}: error: {explain(error, cfg)} (--debug shows the '
            'traceback)',
            file=sys.stderr,
        )
        raise SystemExit(1 if told else 2) from None


def explain(error: Exception, cfg: Config) -> str:
    """An error as one line, with the key of the part that was being built.

    MMEngine builds every part of a config in a function of its own, whose
    arguments the traceback still has.
    """
    # Test data are often described by the same words as validation data.
    parts = dict(
        sorted(cfg.to_dict().items(), key=lambda i: i[0].startswith('test'))
    )
    where = step = ''
    modules = []
    frames = [*traceback.walk_tb(error.__traceback__)]
    if error.__cause__:
        frames += traceback.walk_tb(error.__cause__.__traceback__)
    for frame, _ in frames:
        built = _BUILDERS.get(frame.f_code.co_name, '')
        where = find_key(parts, frame.f_locals.get(built)) or where
        part = frame.f_locals.get('self')
        if isinstance(part, nn.Module):
            modules.append(part)
        if isinstance(part, BaseTransform):
            step = f' in {type(part).__name__}'
    died = isinstance(error, ChildProcessError)  # in no part of the config
    if modules and not (where or died):
        names = {part: name for name, part in modules[0].named_modules()}
        known = [names[part] for part in modules if names.get(part)]
        where = '.'.join(['model', *known[-1:]]).replace('.module.', '.')
    text = ' '.join(str(error).split()) or 'no reason is given'
    text = textwrap.shorten(text, 600) + remedy(error)
    kind = type(error).__name__
    if not (died or isinstance(error, (FileNotFoundError, ValueError))):
        text = f'{kind}{step}: {text}'
    return f'{where}: {text}' if where else text


def find_key(parts: Any, part: Any) -> str:
    """Dotted key of the first node that a part was made from; '' if none."""
    found = (key for key, node in walk(parts) if key and _is_from(part, node))
    return next(found, '')


def _is_from(part: Any, node: Any) -> bool:
    """Whether a part has all that a node says; builders add arguments."""
    return (
        isinstance(node, Mapping)
        and isinstance(part, Mapping)
        and ('type' in node or 'sampler' in node)
        and all(k in part and part[k] == v for k, v in node.items())
    )
