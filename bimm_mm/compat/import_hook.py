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


class PatchingFinder(MetaPathFinder):
    """Finds chosen modules and wraps a function around their execution.

    Args:
        patches: By module name. Each is called as ``patch(module, run)`` in
            place of the module's own code, and ``run(module)`` executes that
            code.
    """

    def __init__(self, patches: Mapping[str, Patch]) -> None:
        self.patches = patches

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Give a patched module's spec, None for any other module."""
        patch = self.patches.get(fullname)
        if patch is None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module
        spec.loader.exec_module = (  # type: ignore[method-assign]
            lambda module: patch(module, run)
        )
        return spec


class MissingFinder(MetaPathFinder, Loader):
    """Supplies modules that an installation lacks.

    Asked after all other finders, so an installed module is left alone.

    Args:
        missing: By module name, the function that fills an empty module.
    """

    def __init__(self, missing: Mapping[str, Run]) -> None:
        self.missing = missing

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return a spec of a module to supply; None for any other module."""
        if fullname not in self.missing:
            return None
        # With an empty path of its own, as submodules ask for a package.
        return spec_from_loader(fullname, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module."""
        self.missing[module.__name__](module)


def install(patches: Mapping[str, Patch], missing: Mapping[str, Run]) -> None:
    """Add both finders; patch at once what was imported before."""
    if any(isinstance(finder, PatchingFinder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, PatchingFinder(patches))
    sys.meta_path.append(MissingFinder(missing))
    for name, patch in patches.items():
        if name in sys.modules:
            # The module's own code has run.
            patch(sys.modules[name], lambda module: None)
