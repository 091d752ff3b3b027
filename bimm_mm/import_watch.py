"""Running code around the import of chosen modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

Run = Callable[[ModuleType], None]
Cure = Callable[[ModuleType, Run], None]


class Watcher(MetaPathFinder):
    """Finds chosen modules and wraps a function around their execution.

    Args:
        cures (Mapping[str, Callable]): By module name. Each is called as
            ``cure(module, run)`` in place of the module's own code, and
            ``run(module)`` executes that code.
    """

    def __init__(self, cures: Mapping[str, Cure]) -> None:
        self.cures = cures

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Wrap the cure around the module's loader; see the class."""
        cure = self.cures.get(fullname)
        spec = cure and PathFinder.find_spec(fullname, path, target)
        if not spec or spec.loader is None:
            return None
        run = spec.loader.exec_module
        spec.loader.exec_module = lambda module: cure(module, run)
        return spec
