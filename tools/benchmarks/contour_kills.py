"""Kill an extraction of contours again and again; is the result the same?

Runs tools/extract_contours.py once undisturbed, then with SIGKILL at random
moments and once more to its end, and compares all files byte by byte.

Example:
    python tools/benchmarks/contour_kills.py --kills 10 -- \
        DATA_ROOT --detector canny
"""

from __future__ import annotations

import argparse
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / 'extract_contours.py'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=10)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        'arguments',
        nargs='+',
        help='of tools/extract_contours.py, without --out',
    )
    return parser.parse_args()


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by relative path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in folder.rglob('*')
        if path.is_file()
    }


def start(arguments: Sequence[str], out: Path) -> subprocess.Popen:
    """Begin an extraction."""
    command = [sys.executable, str(SCRIPT), *arguments, '--out', str(out)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE)


def begun(out: Path, process: subprocess.Popen) -> None:
    """Wait until the manifest is there, or the process is over."""
    while process.poll() is None and not (out / 'manifest.json').exists():
        time.sleep(0.01)


def whole(arguments: Sequence[str], out: Path) -> tuple[str, float]:
    """Extract without disturbance.

    Returns:
        tuple: What was said, and the seconds after the manifest was written.

    Raises:
        RuntimeError: If that fails.
    """
    process = start(arguments, out)
    begun(out, process)
    begin = time.monotonic()
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(
            f'the extraction failed with exit code {process.returncode}; the '
            f'reason is above. {said}'
        )
    return said, time.monotonic() - begin


def disturb(
    arguments: Sequence[str],
    out: Path,
    *,
    kills: int,
    seconds: float,
    seed: int,
) -> int:
    """Extract, killed at random moments, then to the end.

    Args:
        arguments (Sequence[str]): Of the script.
        out (Path): Folder of the contours.
        kills (int): How often.
        seconds (float): What it takes undisturbed.
        seed (int): Decides about the moments.

    Returns:
        int: How many of the processes were killed before they were done.
    """
    draw, killed = random.Random(seed), 0
    for _ in range(kills):
        process = start(arguments, out)
        begun(out, process)
        time.sleep(draw.uniform(0, 1.5 * seconds / kills))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
    whole(arguments, out)
    return killed


def main() -> int:
    """Compare; 0 if nothing differs."""
    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one, other = (
            Path(folder) / 'whole' / 'o',
            Path(folder) / 'killed' / 'o',
        )
        said, seconds = whole(args.arguments, one)
        print(said)
        killed = disturb(
            args.arguments,
            other,
            kills=args.kills,
            seconds=seconds,
            seed=args.seed,
        )
        files, others = digests(one), digests(other)
    # The manifest names --out.
    names = (files.keys() | others.keys()) - {'manifest.json'}
    wrong = sorted(n for n in names if files.get(n) != others.get(n))
    print(
        f'killed {killed} times in {args.kills} runs: {len(names)} files, '
        f'{len(wrong)} differ {wrong[:5]}'
    )
    return int(bool(wrong))


if __name__ == '__main__':
    sys.exit(main())
