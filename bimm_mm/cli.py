"""The ``bimm`` command: thin verbs over :mod:`bimm_mm.apis`.

Until a verb runs, nothing but typer is imported, so that ``--help`` answers
at once. A mistake of the user ends with one sentence and exit code 2;
``--debug``, anywhere in the line, shows the traceback.
"""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help='Brain Inspired Masked Modeling: pretrain on your own videos, '
    'finetune, compare, and use the encoder. --debug, anywhere in a command, '
    'shows the traceback of an error.',
)
data = typer.Typer(no_args_is_help=True, help='Prepare your own videos.')
app.add_typer(data, name='data')

# The flags that verbs share, each with one name and one meaning.
Out = Annotated[Path, typer.Option('--out', help='Folder to write into.')]
Device = Annotated[
    str, typer.Option(help="'cpu', 'cuda', or 'auto': the GPU if there is one")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        '--set',
        metavar='KEY=VALUE',
        help='Override a part of the config; can be repeated.',
    ),
]
Quiet = Annotated[
    bool, typer.Option('--quiet', help='Print warnings and results alone.')
]
DryRun = Annotated[
    bool, typer.Option('--dry-run', help='Check and try all, write nothing.')
]

Verb = TypeVar('Verb', bound=Callable[..., Any])


def verb(
    group: typer.Typer, name: str | None = None
) -> Callable[[Verb], Verb]:
    """Register a function as a verb, to run with the mended libraries."""

    def register(function: Verb) -> Verb:
        @group.command(name)
        @wraps(function)
        def command(*args: Any, **kwargs: Any) -> None:
            import_module('bimm_mm.compat')
            function(*args, **kwargs)

        return function

    return register


@verb(data, 'scan')
def scan_videos(
    folder: Annotated[Path, typer.Argument(help='Folder of your videos.')],
    out: Out,
    labels: Annotated[
        Path | None,
        typer.Option(help='A CSV file: path,class[,group][,split].'),
    ] = None,
    classes: Annotated[
        bool, typer.Option(help='Whether folders are classes.')
    ] = True,
    preset: Annotated[
        str | None,
        typer.Option(help='Official lists of k400, ssv2, ucf101 or hmdb51.'),
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="Folder of the preset's lists.")
    ] = None,
    groups: Annotated[
        str,
        typer.Option(
            metavar='REGEX', help='What is equal in paths of one recording.'
        ),
    ] = 'auto',
    val_share: Annotated[
        float, typer.Option(help='Share of the videos to hold out.')
    ] = 0.2,
    short_side: Annotated[
        int | None,
        typer.Option(help='Copy the videos with that short side, in pixels.'),
    ] = None,
    frames: Annotated[int, typer.Option(help='Of a training clip.')] = 16,
    jobs: Annotated[
        int | None, typer.Option(help='Processes; one per core by default.')
    ] = None,
    seed: Annotated[int, typer.Option(help='Of the splits.')] = 0,
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Make lists, splits and a report of a folder of videos."""
    from bimm_mm.apis.data_folder import print_data
    from bimm_mm.apis.scan import scan

    found = scan(
        folder,
        out,
        labels=labels,
        classes=classes,
        preset=preset,
        annotations=annotations,
        groups=groups,
        val_share=val_share,
        short_side=short_side,
        frames=frames,
        jobs=jobs,
        seed=seed,
        dry_run=dry_run,
        quiet=quiet,
    )
    print_data(found, out, quiet=quiet)


@verb(app)
def doctor() -> None:
    """Say what works in this environment, and what to do about the rest."""
    from bimm_mm.doctor import main

    main()


@verb(app)
def report(
    folder: Annotated[
        Path, typer.Argument(help='A run, or a folder with several.')
    ],
    out: Annotated[
        Path | None,
        typer.Option(help='The file; default: report.html in the folder.'),
    ] = None,
    show: Annotated[
        bool, typer.Option('--open', help='Open it in the browser.')
    ] = False,
) -> None:
    """Write one page about a run, or about all runs below a folder.

    It has losses, results, settings, reconstructions, files that were left
    out and the commands, all in one file.
    """
    from bimm_mm.apis.report import write_report

    path = write_report(folder, out)
    print(path)
    if show:
        webbrowser.open(path.absolute().as_uri())


def main(args: Sequence[str] | None = None) -> None:
    """Run a command line, by default that of the process.

    Raises:
        SystemExit: With status 2 and one sentence for a mistake of the user.
    """
    words = list(sys.argv[1:] if args is None else args)
    try:
        options = [word for word in words if word != '--debug']
        app(args=options, prog_name='bimm')
    except Exception as error:
        if '--debug' in words or not is_mistake(error):
            raise
        text = ' '.join(str(error).split())
        print(f'bimm: error: {text}', file=sys.stderr)
        raise SystemExit(2) from None


def is_mistake(error: Exception) -> bool:
    """Whether an error is told in one sentence, and needs no traceback."""
    from bimm_mm.utils.video import UndecodableVideoError

    kinds = (OSError, ValueError, ImportError, UndecodableVideoError)
    return isinstance(error, kinds)
