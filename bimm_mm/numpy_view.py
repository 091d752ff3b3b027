"""NumPy as it was before version 2."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any


class NumpyView(ModuleType):
    """NumPy together with the names that it dropped."""

    Inf = float('inf')
    NAN = float('nan')

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module('numpy'), name)

    def in1d(self, values: Any, among: Any) -> Any:
        """Which of the flattened values are among others."""
        return self.isin(self.ravel(values), among)

    def trapz(self, y: Any, x: Any = None) -> Any:
        """Integral by the trapezoidal rule."""
        return self.trapezoid(y, x)
