"""Lets official code of 2021 to 2023 be imported beside today's packages.

The code itself is not changed. Names that NumPy and timm have dropped are
given while it runs, and packages that it imports without needing them here
are empty.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn

# For logging, detection and reading videos.
UNUSED = ('tensorboardX', 'detectron2', 'av', 'pytorchvideo', 'torch._six')


class Empty(ModuleType):
    """A package in which every name is a module without weights."""

    __path__: list[str] = []
    inf = float('inf')  # of torch._six

    def __getattr__(self, name: str) -> type[nn.Module]:
        if name.startswith('__'):
            raise AttributeError(name)
        return type(name, (nn.Identity,), {})


class EmptyPackages(MetaPathFinder, Loader):
    """Finds the packages of ``UNUSED``."""

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """See ``MetaPathFinder``."""
        unused = any(f'{name}.'.startswith(f'{part}.') for part in UNUSED)
        return ModuleSpec(name, self) if unused else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """See ``Loader``."""
        return Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """See ``Loader``; there is nothing to run."""


@contextmanager
def official_modules(folder: Path) -> Iterator[None]:
    """Import from a folder; its modules are forgotten afterwards.

    Several repositories have modules of the same name.
    """
    from timm.models import vision_transformer

    class Block(vision_transformer.Block):
        """timm's block, which once had an option ``qk_scale``."""

        def __init__(self, *args: Any, qk_scale: None = None, **kw: Any):
            super().__init__(*args, **kw)

    path = [str(folder.resolve()), *sys.path]
    with (
        mock.patch.dict(sys.modules),
        mock.patch.object(sys, 'path', path),
        mock.patch.object(sys, 'meta_path', [EmptyPackages(), *sys.meta_path]),
        mock.patch.object(vision_transformer, 'Block', Block),
        mock.patch.object(np, 'float', float, create=True),
        mock.patch.object(torch.cuda, 'synchronize'),
    ):
        yield
