"""The ``bimm`` command: thin verbs over :mod:`bimm_mm.apis`.

Until a verb runs, nothing but typer is imported, so that ``--help`` answers
at once. A mistake of the user ends with one sentence and exit code 2;
``--debug``, anywhere in the line, shows the traceback.
"""

from __future__ import annotations

import inspect
import io
import os
import shlex
import sys
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import wraps
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, TypeVar

import typer

from bimm_mm.apis import own
from bimm_mm.apis.flags import Device, DryRun, Out, Quiet, Settings
from bimm_mm.apis.scan import scan
from bimm_mm.apis.tuning import tuning
from bimm_mm.utils.remedies import remedy

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

Verb = TypeVar('Verb', bound=Callable[..., Any])


def verb(
    group: typer.Typer, name: str | None = None, *, then: str = ''
) -> Callable[[Verb], Verb]:
    """Register a function as a verb, to run with the mended libraries.

    Args:
        group: Of verbs.
        name: What is typed; default: the function's.
        then: The command that comes next, with arguments in braces.
    """

    def register(function: Verb) -> Verb:
        # What a caller from Python has to know as well is left out.
        text = inspect.cleandoc(function.__doc__ or '').partition('\nReturns:')

        @group.command(name, help=text[0])
        @wraps(function)
        def command(**flags: Any) -> None:
            os.getcwd()  # without one, torch ends the process
            import_module('bimm_mm.compat')
            if isinstance(sys.stdout, io.TextIOWrapper):  # names of files
                sys.stdout.reconfigure(errors='backslashreplace')
            if flags.get('options'):
                config = import_module('bimm_mm.apis.config')
                flags['options'] = config.parse_settings(flags['options'])
            log: Any = nullcontext()
            if flags.get('quiet'):
                progress = import_module('bimm_mm.utils.progress')
                log = progress.warnings_alone()
            with log:
                function(**flags)
            if (
                then
                and not flags['dry_run']
                and not int(os.environ.get('RANK', 0))
            ):
                quoted = {k: shlex.quote(str(x)) for k, x in flags.items()}
                print(f'next: {then.format(**quoted)}')
            if dist := sys.modules.get('bimm_mm.utils.processes'):
                dist.end_processes()

        return function

    return register


next_step = 'bimm finetune {out} {data} --out {out}_tuned'
verb(app, then=next_step)(own.pretrain)
verb(app)(own.finetune)
verb(app)(own.compare)
verb(app)(own.demo)
verb(app)(tuning)


@verb(data, 'scan')
@wraps(scan)
def scan_and_show(**flags: Any) -> None:
    """Scan, and show what was found."""
    from bimm_mm.apis.data_folder import print_data

    print_data(scan(**flags), flags['out'], quiet=flags['quiet'])


@verb(app)
def doctor(
    loader: Annotated[
        Path | None,
        typer.Option(
            metavar='CONFIG', help='Measure how fast its training set loads.'
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help='Clips per second that a GPU trains.')
    ] = None,
    options: Settings = None,
) -> None:
    """Say what works in this environment, and what to do about the rest."""
    if loader is None:
        from bimm_mm.doctor import main
        from bimm_mm.utils.choices import check_unused

        flags = {'--rate': rate is not None, '--set': bool(options)}
        check_unused(flags, 'it is of --loader CONFIG: give that, too')
        main()
        return
    from bimm_mm.apis.loader_speed import RATES, measure_loader

    rates = RATES if rate is None else (rate,)
    print(measure_loader(loader, options, rates=rates))


@contextmanager
def _written(out: Path, *, dry_run: bool) -> Iterator[Path]:
    """Where to write a file, if one can; in a dry run it is removed."""
    from bimm_mm.utils.files import check_file

    check_file(out)
    folder = out.parent.expanduser()
    with TemporaryDirectory() if dry_run else nullcontext(folder) as home:
        yield Path(home, out.name)


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
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Write one page about a run, or about all runs below a folder.

    It has losses, results, settings, reconstructions, files that were left
    out and the commands, all in one file.
    """
    from bimm_mm.apis.report import write_report

    out = out or folder / 'report.html'
    with _written(out, dry_run=dry_run) as path:
        write_report(folder, path)
    print(out)
    if show and not dry_run:
        webbrowser.open(out.expanduser().absolute().as_uri())


Branch = Annotated[
    str | None,
    typer.Option(help="'ventral' or 'dorsal' of a joint run; default: dorsal"),
]
Run = Annotated[str, typer.Argument(metavar='RUN', help='Folder or file.')]


@verb(app)
def embed(
    source: Run,
    inputs: Annotated[
        list[Path], typer.Argument(metavar='FILES', help='Files or folders.')
    ],
    out: Annotated[Path, typer.Option(help='The .npz file to write.')],
    branch: Branch = None,
    block: Annotated[
        list[int] | None,
        typer.Option(help='After how many blocks; can be repeated.'),
    ] = None,
    batch_size: Annotated[int, typer.Option(help='Clips at a time.')] = 8,
    skip_bad: Annotated[
        bool, typer.Option(help='Leave out files that cannot be read.')
    ] = False,
    device: Device = 'auto',
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Write features of videos and images, for tools/probe.py and NumPy."""
    from bimm_mm.apis.embedding import embed_files
    from bimm_mm.apis.feature_file import write_features
    from bimm_mm.apis.models import load_encoder

    if out.suffix != '.npz':
        raise ValueError(f'--out {out} must end with .npz')
    with _written(out, dry_run=dry_run) as path:
        encoder = load_encoder(source, branch=branch, device=device)
        features = embed_files(
            encoder,
            inputs,
            blocks=block or (),
            batch_size=batch_size,
            progress=not quiet,
            skip_bad=skip_bad,
            dry_run=dry_run,
        )
        write_features(features, path)
    for name, array in features.arrays.items():
        print(f'{out}: {name} {array.shape} of {array.dtype}')


@verb(app)
def export(
    source: Run,
    out: Annotated[
        Path, typer.Option(help='Ends with .onnx, .pt2 or .safetensors.')
    ],
    branch: Branch = None,
    device: Device = 'auto',
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Write the encoder alone, as a program or as weights."""
    from bimm_mm.apis.export import export as write
    from bimm_mm.apis.models import load_encoder

    with _written(out, dry_run=dry_run) as path:
        write(load_encoder(source, branch=branch, device=device), path)
        print(f'{out}: {path.stat().st_size / 1e6:.1f} MB')


@verb(app)
def show(
    source: Run,
    clips: Annotated[
        list[str], typer.Argument(metavar='CLIP', help='Videos or images.')
    ],
    out: Out = Path('pictures'),
    seed: Annotated[int, typer.Option(help='Which masks.')] = 0,
    device: Device = 'auto',
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Draw what every area of a pretraining predicts for clips."""
    from bimm_mm.apis.inference import reconstruct
    from bimm_mm.utils.files import check_folder

    check_folder(out)
    found = reconstruct(source, clips, seed=seed, device=device)
    for path in [] if dry_run else found.save(out):
        print(path)


def main(args: Sequence[str] | None = None) -> None:
    """Run a command line, by default that of the process.

    Raises:
        SystemExit: At the end; with status 2 and one sentence for a mistake
            of the user.
    """
    words = list(sys.argv[1:] if args is None else args)
    try:
        options = [word for word in words if word != '--debug']
        status = app(args=options, prog_name='bimm', standalone_mode=False)
    except Exception as error:
        # Of typer's own, such as an unknown flag; empty where it shows help.
        typed = getattr(error, 'format_message', None)
        if '--debug' in words or not (typed or is_mistake(error)):
            raise
        text = ' '.join((typed() if typed else str(error)).split())
        if text:
            print(f'bimm: error: {text}{remedy(error)}', file=sys.stderr)
        raise SystemExit(2) from None
    raise SystemExit(status)


def is_mistake(error: Exception) -> bool:
    """Whether an error is told in one sentence, and needs no traceback."""
    kinds: tuple[type[Exception], ...] = (OSError, ValueError, ImportError)
    # Not imported here: what it needs may be what is missing.
    if video := sys.modules.get('bimm_mm.utils.video'):
        kinds += (video.UndecodableVideoError,)
    return isinstance(error, kinds)
