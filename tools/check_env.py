"""Whether an environment is complete: versions, files, and two imports.

Used by tools/setup_env.sh with the environment's own Python. Needs nothing
but the standard library, because it also looks at half-made environments.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sysconfig
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def pins(files: Iterable[Path]) -> dict[str, str]:
    """Name and version of every ``name==version`` line."""
    lines = [line for file in files for line in file.read_text().splitlines()]
    return dict(
        line.strip().split('==')
        for line in lines
        if line.strip() and not line.startswith('#')
    )


def wrong_versions(wanted: dict[str, str]) -> list[str]:
    """One sentence for each package that is missing or not as pinned."""
    found = []
    for name, number in wanted.items():
        try:
            # A build for another device calls itself 2.11.0+cpu.
            have = version(name).partition('+')[0]
        except PackageNotFoundError:
            have = 'missing'
        if have != number:
            found.append(f'{name} is {have}, not {number}')
    return found


def is_damaged(record: Path) -> bool:
    """Whether a file is missing that the package's RECORD names."""
    if not record.is_file():
        return True
    site = record.parent.parent
    with record.open(newline='') as rows:
        files = [row[0] for row in csv.reader(rows) if row]
    return not all(
        (site / name).exists() for name in files if not name.endswith('.pyc')
    )


def damaged(site: Path) -> list[Path]:
    """The dist-info folders of packages whose installation is incomplete."""
    return [
        info
        for info in sorted(site.glob('*.dist-info'))
        if is_damaged(info / 'RECORD')
    ]


def forget(site: Path) -> None:
    """Make pip install damaged packages again.

    An interrupted installation leaves a package that pip takes for installed
    and cannot remove, and folders ``~name`` with the version before.
    """
    for folder in [*damaged(site), *site.glob('~*')]:
        print(f'incomplete, to be installed again: {folder.name}')
        shutil.rmtree(folder)


def main() -> None:
    """Print what is wrong and exit with 1, or exit with 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('files', nargs='*', type=Path, help='files of pins')
    parser.add_argument(
        '--forget', action='store_true', help='have damaged packages redone'
    )
    args = parser.parse_args()
    site = Path(sysconfig.get_path('purelib'))
    if args.forget:
        forget(site)
        return
    wrong = wrong_versions(pins(args.files))
    wrong += [f'{info.stem} is incomplete' for info in damaged(site)]
    if not wrong:
        try:
            # The ops need torch's libraries to be loaded before them.
            for module in ('torch', 'mmcv._ext'):
                import_module(module)
        except Exception as error:
            wrong.append(f'mmcv with its ops cannot be imported: {error}')
    if wrong:
        raise SystemExit('\n'.join(wrong))


if __name__ == '__main__':
    main()
