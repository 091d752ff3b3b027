"""Validation before the first training step."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from bimm_mm.registry import HOOKS


@HOOKS.register_module()
class FirstValHook(Hook):
    """Validates once before training, so that curves begin at step 0.

    A resumed run has that point already and does not repeat it.
    """

    # After every other hook has prepared itself in its own ``before_train``.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Run the validation loop, if there is one and the run is new."""
        if runner.iter == 0 and runner.val_loop is not None:
            runner.val_loop.run()
