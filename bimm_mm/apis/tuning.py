"""What an encoder represents: controlled stimuli, read out of every block.

As physiologists do with visual areas: stimuli differ in one property and in
much else, and a linear model reads that property from the responses. Nothing
heavy is loaded before the function, a verb of ``bimm``, is called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from bimm_mm.apis.flags import AnyPath, Device, DryRun, Quiet, Seed

if TYPE_CHECKING:  # what a call may give, and a command line cannot
    from bimm_mm.apis.encoder import Encoder

    Encoders = AnyPath | Sequence[AnyPath] | Encoder | Mapping[str, Encoder]
    OptionalPath = AnyPath | None
else:
    Encoders, OptionalPath = list[str], AnyPath


def tuning(
    encoder: Annotated[
        Encoders,
        Argument(metavar='CHECKPOINT...', help='Folders or files.'),
    ],
    *,
    out: Annotated[OptionalPath, Option(help='Folder to write into.')],
    properties: Annotated[
        list[str] | None,
        Option('--property', help='Which, can be repeated; default: all.'),
    ] = None,
    number: Annotated[
        int, Option(help='Stimuli of each property; half as many test.')
    ] = 128,  # chosen: two minutes on two cores, see docs/tuning.md
    seed: Seed = 0,
    device: Device = 'auto',
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> dict[str, Any]:
    """Measure what each block of an encoder tells about controlled stimuli.

    Orientation, contours, shape, motion and more are read out by a linear
    model, beside random weights and features without learning. OUT gets
    report.html, tuning.json and the heat maps as SVG. Of a joint run both
    branches are measured; several checkpoints see the same stimuli and are
    compared.

    Returns:
        What ``tuning.json`` holds. ``encoders`` and ``properties`` are facts
        by name; ``scores`` are rows, one for each encoder, property,
        ``features`` (``'trained'``, ``'random'`` weights, ``'pixels'``,
        ``'motion energy'``) and ``block``, as ``read_out`` and ``channels``
        as ``tuning_curves`` of ``bimm_mm.apis.readout`` give them;
        ``differences`` are rows with paired intervals, between encoders and
        to ``'random'`` weights, ``at`` the block behind which the ``'area'``
        is decoded (of the first encoder that has it) and between ``'best'``
        blocks; ``cka`` has the ``names`` of blocks and their ``values``;
        ``notes`` are text. A call may also give an encoder, or several by
        name; with ``out=None`` nothing is written or shown.

    Raises:
        OSError: If there is no such file, or ``out`` cannot be written.
        ValueError: If the file holds no encoder, an argument is wrong, or no
            encoder can see a property.
    """
    from bimm_mm.apis.encoder import Encoder
    from bimm_mm.apis.page import print_sections, write_page
    from bimm_mm.apis.tuning_page import (
        score_section,
        tuning_page,
        write_maps,
    )
    from bimm_mm.apis.tuning_study import LEAST, Study, load_encoders
    from bimm_mm.stimuli import PROPERTIES
    from bimm_mm.utils.choices import check_choice
    from bimm_mm.utils.files import check_folder, write_json

    if out is not None:
        check_folder(out)
    for name in properties or ():
        check_choice('property', name, PROPERTIES)
    if isinstance(encoder, Encoder):
        encoder = {'encoder': encoder}
    elif not isinstance(encoder, Mapping):
        sources = [encoder] if isinstance(encoder, str | Path) else encoder
        encoder = load_encoders(sources, device=device)
    study = Study(encoder, number=LEAST if dry_run else number, seed=seed)
    result = study.run(properties, quiet=quiet)
    if out is not None:
        with TemporaryDirectory() if dry_run else nullcontext(out) as home:
            write_json(result, Path(home, 'tuning.json'))
            write_page(tuning_page(result), Path(home, 'report.html'))
            write_maps(result, home)
        print_sections([score_section(result)])
        print(Path(out, 'report.html'))
    return result
