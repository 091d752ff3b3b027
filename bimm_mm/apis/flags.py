"""Arguments that verbs of the ``bimm`` command share, each with one meaning.

The functions of :mod:`bimm_mm.apis.own` have them in their signatures, which
typer reads: a verb and its call from Python are described once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # typer knows one type for each, which calls need not heed
    AnyPath = str | Path
    Options = Mapping[str, Any] | None
else:
    AnyPath = Path
    Options = list[str] | None

Out = Annotated[AnyPath, typer.Option('--out', help='Folder to write into.')]
Data = Annotated[AnyPath, typer.Argument(help='What bimm data scan wrote.')]
Device = Annotated[
    str, typer.Option(help="'cpu', 'cuda', or 'auto': the GPU if there is one")
]
Settings = Annotated[
    Options,
    typer.Option(
        '--set',
        metavar='KEY=VALUE',
        help='Override a part of the config; can be repeated.',
    ),
]
BatchSize = Annotated[int, typer.Option(help='Videos of a step, on each GPU.')]
Seed = Annotated[int, typer.Option(help='Of all randomness.')]
LogTo = Annotated[
    str | None,
    typer.Option(help='tensorboard or wandb, beside the log file.'),
]
Quiet = Annotated[
    bool, typer.Option('--quiet', help='Print warnings and results alone.')
]
DryRun = Annotated[
    bool, typer.Option('--dry-run', help='Check and try all, write nothing.')
]
