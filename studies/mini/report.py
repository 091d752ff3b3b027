#!/usr/bin/env python
"""Write the page of the mini study from its results.

Example:
    python -m studies.mini.report work_dirs/mini_study/NAME/results.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bimm_mm.apis import write_text
from studies.mini.figures import copy_pictures, write_curves
from studies.mini.page import page, shown_settings, shown_study
from studies.mini.reading import Run, read_results


def write_report(
    runs: Sequence[Run],
    *,
    out: str | Path,
    images: str | Path,
    pictures: str | Path | None = None,
    chosen: Mapping[str, Any] | None = None,
) -> Path:
    """Write page and figures.

    Args:
        runs (Sequence[Run]): From
            :func:`~studies.mini.reading.read_results`.
        out (str | Path): The page.
        images (str | Path): Folder of its figures.
        pictures (str | Path, optional): Reconstructions to copy. Defaults to
            None: those that are in ``images`` already are shown.
        chosen (Mapping, optional): From :func:`read_settings`.

    Returns:
        Path: The page.

    Raises:
        FileNotFoundError: If there is no folder of pictures.
        ValueError: If runs of a comparison cannot be compared.
    """
    out, images = Path(out), Path(images)
    study = shown_study(runs)
    for setting in shown_settings(study):
        write_curves(study, setting, images)
        if pictures is not None and setting.budget == 'clips':
            copy_pictures(study, setting, Path(pictures), images)
    write_text(page(runs, out=out, images=images, chosen=chosen), out)
    return out


def read_settings(path: str | Path) -> dict[str, Any]:
    """How the settings were chosen.

    Args:
        path (str | Path): JSON: by name of the stage (``'pretraining'``,
            ``'finetuning'``) an object with ``chosen``, the candidate's
            name, and ``table``, all candidates as Markdown.

    Returns:
        dict: Its content.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'--settings: there is no {path}: leave it out, or choose '
            'settings first, see python -m studies.mini.settings --help'
        )
    wrong = (
        f'--settings: {path} does not tell how settings were chosen (JSON '
        'with "chosen" and "table" by stage): make it with python -m '
        'studies.mini.settings'
    )
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError:
        raise ValueError(wrong) from None
    stages = [
        each
        for each in (content.values() if isinstance(content, dict) else ())
        if isinstance(each, dict)
    ]
    if not stages or not all(
        isinstance(each.get(key), str)
        for each in stages
        for key in ('chosen', 'table')
    ):
        raise ValueError(wrong)
    return content


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m studies.mini.report',
        description=__doc__.splitlines()[0],
    )
    parser.add_argument('results', help='results.json of the study')
    parser.add_argument(
        '--pictures', help='folder of reconstructions to put on the page'
    )
    parser.add_argument(
        '--settings', help='settings.json: how the settings were chosen'
    )
    parser.add_argument(
        '--out', default='docs/mini_study.md', help='default: %(default)s'
    )
    parser.add_argument(
        '--images',
        default='docs/images',
        help='folder of the figures; default: %(default)s',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page."""
    args = parse_args(argv)
    try:
        chosen = read_settings(args.settings) if args.settings else None
        out = write_report(
            read_results(args.results),
            out=args.out,
            images=args.images,
            pictures=args.pictures,
            chosen=chosen,
        )
    except (FileNotFoundError, ModuleNotFoundError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'wrote {out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
