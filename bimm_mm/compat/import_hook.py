"""Running code around the import of chosen modules, and supplying modules."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_loader
from types import ModuleType

Run = Callable[[ModuleType], None]
Patch = Callable[[ModuleType, Run], None]


class Finder(MetaPathFinder, Loader):
    """Wraps a function around the execution of chosen modules.

    Args:
        patches: By module name. Each is called as ``patch(module, run)`` in
            place of the module's own code, and ``run(module)`` executes that
            code.
        missing: By name of a module that an installation may lack, the
            function that fills an empty one. An installed one is left alone.
    """

    def __init__(
        self, patches: Mapping[str, Patch], missing: Mapping[str, Run]
    ) -> None:
        self.patches = patches
        self.missing = missing

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Give the spec of a chosen module, None for any other module."""
        patch = self.patches.get(fullname)
        if patch is None and fullname not in self.missing:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None and fullname in self.missing:
            # With an empty path of its own, as submodules ask for a package.
            return spec_from_loader(fullname, self, is_package=True)
        if patch and spec and spec.loader:
            run = spec.loader.exec_module
            spec.loader.exec_module = (  # type: ignore[method-assign]
                lambda module: patch(module, run)
            )
        return spec

    def exec_module(self, module: ModuleType) -> None:
        """Fill a module that is missing."""
        self.missing[module.__name__](module)


def install(patches: Mapping[str, Patch], missing: Mapping[str, Run]) -> None:
    """Add the finder; patch at once what was imported before."""
    if any(isinstance(finder, Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, Finder(patches, missing))
    for name, patch in patches.items():
        if name in sys.modules:
            # The module's own code has run.
            patch(sys.modules[name], lambda module: None)
