"""What libraries import or make for what few runs do: when one does it.

More than half of what a training imports was for these. No upstream issue is
known.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

from bimm_mm.compat.import_hook import Patch, Run


def function_of(package: str, name: str) -> Patch:
    """Import a package when the one function that a module takes is called.

    MMEngine 0.10.7 registers ``Adafactor`` of transformers, with which come
    peft and scikit-learn; mmaction2 1.2.0's poses use a ``mode`` of
    ``scipy.stats``.
    """

    def patch(module: ModuleType, run: Run) -> None:
        if package in sys.modules or find_spec(package) is None:
            run(module)
            return

        def call(*args: Any, **kwargs: Any) -> Any:
            return getattr(import_module(package), name)(*args, **kwargs)

        stub = ModuleType(package)
        vars(stub)[name] = call
        sys.modules[package] = stub
        try:
            run(module)
        finally:
            del sys.modules[package]

    return patch


def figure_of_visualizer(module: ModuleType, run: Run) -> None:
    """Import matplotlib when MMEngine 0.10.7's visualizer draws a picture."""
    run(module)
    kind = module.Visualizer
    make, set_image = kind._initialize_fig, kind.set_image

    def set_image_on_figure(self: Any, image: Any) -> None:
        if self.ax_save is None:
            made = make(self, self.fig_save_cfg)
            self.fig_save_canvas, self.fig_save, self.ax_save = made
            self.dpi = self.fig_save.get_dpi()
        set_image(self, image)

    def no_figure(*_: Any) -> tuple[None, SimpleNamespace, None]:
        return None, SimpleNamespace(get_dpi=int), None

    kind._initialize_fig, kind.set_image = no_figure, set_image_on_figure


DEFERRED: dict[str, Patch] = {
    'mmengine.optim.optimizer.builder': function_of(
        'transformers', 'Adafactor'
    ),
    'mmaction.datasets.transforms.pose_transforms': function_of(
        'scipy.stats', 'mode'
    ),
    'mmengine.visualization.visualizer': figure_of_visualizer,
}
