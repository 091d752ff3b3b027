"""The ``bimm`` command: thin verbs over :mod:`bimm_mm.apis`.

Until a verb runs, nothing but typer is imported, so that ``--help`` answers
at once. A mistake of the user ends with one sentence and exit code 2;
``--debug``, anywhere in the line, shows the traceback.
"""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
BatchSize = Annotated[int, typer.Option(help='Videos of a step, on each GPU.')]
Seed = Annotated[int, typer.Option(help='Of all randomness.')]
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
            with _log_level(quiet=kwargs.get('quiet', False)):
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
    class_level: Annotated[
        int | None,
        typer.Option(help='Which folder above a video is its class, from 1.'),
    ] = None,
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
        class_level=class_level,
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


@contextmanager
def _log_level(*, quiet: bool) -> Iterator[None]:
    """Leave out what is no warning of MMEngine's log."""
    if not quiet:
        yield
        return
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    before = logger.level
    logger.setLevel('WARNING')
    try:
        yield
    finally:
        logger.setLevel(before)


@verb(app)
def demo(
    out: Out,
    epochs: Annotated[
        int, typer.Option(help='Passes over the videos, in each stage.')
    ] = 40,
    device: Device = 'auto',
    quiet: Quiet = False,
) -> None:
    """Scan and pretrain on four short videos, and write a page about it."""
    from bimm_mm.apis.demo import demo as run

    print(run(out, epochs=epochs, device=device, quiet=quiet))


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
    encoder = load_encoder(source, branch=branch, device=device)
    features = embed_files(
        encoder,
        inputs[:1] if dry_run else inputs,
        blocks=block or (),
        batch_size=batch_size,
        progress=not quiet,
        skip_bad=skip_bad,
    )
    if not dry_run:
        write_features(features, out)
    for name, array in features.arrays.items():
        print(f'{out}: {name} {array.shape} of {array.dtype}')


@verb(app)
def export(
    source: Run,
    out: Annotated[
        Path, typer.Option(help='Ends with .onnx, .pt2 or .safetensors.')
    ],
    branch: Branch = None,
    quiet: Quiet = False,
) -> None:
    """Write the encoder alone, as a program or as weights."""
    from bimm_mm.apis.export import export as write
    from bimm_mm.apis.models import load_encoder

    path = write(load_encoder(source, branch=branch, device='cpu'), out)
    print(f'{path}: {path.stat().st_size / 1e6:.1f} MB')


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

    found = reconstruct(source, clips, seed=seed, device=device)
    for path in [] if dry_run else found.save(out):
        print(path)


@verb(app)
def pretrain(
    data: Annotated[Path, typer.Argument(help='What bimm data scan wrote.')],
    out: Out,
    method: Annotated[
        str, typer.Option(help='bimm, motionmae or videomae.')
    ] = 'bimm',
    size: Annotated[
        str, typer.Option(help='tiny, small, base or large.')
    ] = 'small',
    epochs: Annotated[
        int, typer.Option(help='Passes over the videos, in each stage.')
    ] = 400,
    image_size: Annotated[
        int, typer.Option(help='Pixels of a side, a multiple of 16.')
    ] = 224,
    frames: Annotated[int, typer.Option(help='Of a clip, even.')] = 16,
    contours: Annotated[
        str | None,
        typer.Option(
            help="For bimm: 'sobel', computed on the device, a deviation from "
            'the paper, or the folder of tools/extract_contours.py.'
        ),
    ] = None,
    batch_size: BatchSize = 16,
    device: Device = 'auto',
    seed: Seed = 0,
    settings: Settings = None,
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Pretrain an encoder on your videos; repeated, it goes on."""
    from bimm_mm.apis.config import parse_settings
    from bimm_mm.apis.own import pretrain

    pretrain(
        data,
        out=out,
        method=method,
        size=size,
        epochs=epochs,
        image_size=image_size,
        frames=frames,
        contours=contours,
        batch_size=batch_size,
        device=device,
        seed=seed,
        options=parse_settings(settings),
        dry_run=dry_run,
        quiet=quiet,
    )
    _end(f'bimm finetune {out} {data} --out {out}_tuned', dry_run)


@verb(app)
def finetune(
    run: Annotated[Path, typer.Argument(help='What bimm pretrain wrote.')],
    data: Annotated[Path, typer.Argument(help='What bimm data scan wrote.')],
    out: Out,
    epochs: Annotated[int, typer.Option(help='Passes over the videos.')] = 50,
    batch_size: BatchSize = 16,
    device: Device = 'auto',
    seed: Seed = 0,
    settings: Settings = None,
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Finetune a pretrained encoder on your classes; repeated, it goes on."""
    from bimm_mm.apis.config import parse_settings
    from bimm_mm.apis.own import finetune

    finetune(
        run,
        data,
        out=out,
        epochs=epochs,
        batch_size=batch_size,
        device=device,
        seed=seed,
        options=parse_settings(settings),
        dry_run=dry_run,
        quiet=quiet,
    )
    _end('', dry_run)


@verb(app)
def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar='RUN RUN... DATA',
            help='What bimm pretrain wrote, two or more, and what bimm data '
            'scan wrote.',
        ),
    ],
    out: Out,
    seeds: Annotated[
        int, typer.Option(help='How many finetunings of each, in each fold.')
    ] = 1,
    folds: Annotated[
        int | None,
        typer.Option(help='How many folds of DATA; all by default.'),
    ] = None,
    epochs: Annotated[
        int, typer.Option(help='Passes of a finetuning over the videos.')
    ] = 50,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            '--kind', help='finetune, linear or knn, repeated; default: all.'
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option(help='Stop then; the same command goes on.')
    ] = float('inf'),
    batch_size: BatchSize = 16,
    device: Device = 'auto',
    settings: Settings = None,
    quiet: Quiet = False,
    dry_run: DryRun = False,
) -> None:
    """Compare pretrained encoders on your classes; repeated, it goes on.

    Each is finetuned and probed beside random weights, features without
    learning and the most frequent class. OUT gets report.html, scores.csv and
    results.json, with intervals of paired differences.
    """
    from bimm_mm.apis.compare import KINDS, compare
    from bimm_mm.apis.config import parse_settings

    *runs, data = paths
    if len(runs) < 2:
        raise ValueError(
            f'{len(runs)} run to compare: give two or more, then the folder '
            'that bimm data scan wrote'
        )
    compare(
        runs,
        data,
        out=out,
        seeds=range(seeds),
        folds=None if folds is None else range(folds),
        epochs=epochs,
        kinds=kinds or KINDS,
        minutes=minutes,
        batch_size=batch_size,
        device=device,
        options=parse_settings(settings),
        dry_run=dry_run,
        quiet=quiet,
    )
    _end('', dry_run)


def _end(command: str, dry_run: bool) -> None:
    """Leave the other processes, and say what comes next."""
    from bimm_mm.utils.processes import end_processes

    if command and not dry_run and os.environ.get('RANK', '0') == '0':
        print(f'next: {command}')
    end_processes()


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
