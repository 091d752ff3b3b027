"""What a run shows while it goes: live in a terminal, else plain lines."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from bimm_mm.registry import HOOKS

# How the messages begin that only somebody who looks for them will read.
_FOR_THE_FILE = (
    '\n------------------------------------------------------------\nSystem',
    'Config:\n',
    'Hooks will be executed',
    'paramwise_options',
    'layer-wise learning rates',
    'Distributed training is not used',
    'Exp name:',
)
_SHARED = 'is duplicate. It is skipped since bypass_duplicate=True'
# Functions of LoggerHook whose lines a live display replaces.
_DISPLAYED = (
    'after_train_iter',
    'after_val_iter',
    'after_val_epoch',
    'after_test_iter',
)
_PAUSE = 0.25  # seconds between two looks at the losses


def screen_handlers(logger: logging.Logger) -> list[logging.StreamHandler]:
    """Those handlers of a logger that write to the screen."""
    return [
        handler
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler)
        and not isinstance(handler, logging.FileHandler)
    ]


def spare_screen(logger: logging.Logger, *, quiet: bool) -> None:
    """Leave config, environment and the like to the log file.

    With ``quiet`` the screen shows warnings and errors alone. A log file that
    cannot be written ends the run; a screen that was closed does not.
    """
    for handler in logger.handlers:
        file = isinstance(handler, logging.FileHandler)
        vars(handler)['handleError'] = _raise if file else _go_on
    for handler in screen_handlers(logger):
        handler.addFilter(_is_for_people)
        if quiet:
            handler.setLevel(max(handler.level, logging.WARNING))


def _raise(record: logging.LogRecord) -> None:
    raise  # what is being handled, of which Python would print a traceback


def _go_on(record: logging.LogRecord) -> None:
    pass


def _is_for_people(record: logging.LogRecord) -> bool:
    text = str(record.msg)
    # That blocks are shared is no mistake, and is said for each layer.
    return not (text.startswith(_FOR_THE_FILE) or text.endswith(_SHARED))


def _is_not_displayed(record: logging.LogRecord) -> bool:
    return record.funcName not in _DISPLAYED


class _Above:
    """A stream above a live display; commands in it can be copied."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str) -> None:
        """Write whole lines, which are left to the terminal to break."""
        line = Text.from_ansi(text.rstrip('\n'))
        self._console.print(line, soft_wrap=True)

    def flush(self) -> None:
        """Nothing is held back."""


@HOOKS.register_module()
class LiveDisplayHook(Hook):
    """Shows steps, time left, losses and validations of areas in a terminal.

    :class:`bimm_mm.StrictRunner` registers it where the output is a terminal;
    other lines of the log scroll above the display.
    """

    # Before a signal ends the run, in the hook that saves.
    priority = 'LOW'

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn('{task.description}'),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn('left'),
        )
        self._metrics: dict[str, float] = {}
        self._live: Live | None = None
        self._training: TaskID | None = None
        self._evaluation: TaskID | None = None
        self._looked = 0.0

    def before_run(self, runner: Runner) -> None:
        """Begin to display."""
        # Drawn by this thread alone: a worker that is forked while another
        # one draws would wait for it without end.
        self._live = Live(self._bars, auto_refresh=False)
        self._live.start()
        for handler in screen_handlers(runner.logger):
            handler.setStream(_Above(self._live.console))
            handler.addFilter(_is_not_displayed)

    def close(self, logger: logging.Logger) -> None:
        """End the display; what it shows last stays."""
        if self._live is None:
            return
        self._live.stop()
        self._live = None
        for handler in screen_handlers(logger):
            handler.setStream(sys.stdout)
            handler.removeFilter(_is_not_displayed)

    def before_train(self, runner: Runner) -> None:
        """Show the steps of the whole run."""
        self._training = self._bars.add_task(
            'training', total=runner.max_iters, completed=runner.iter
        )

    def after_train_iter(self, runner: Runner, *args: Any, **kw: Any) -> None:
        """Advance; now and then show the losses."""
        assert self._training is not None
        text = 'training'
        if not isinstance(runner.train_loop, IterBasedTrainLoop):
            text += f', epoch {runner.epoch + 1}/{runner.max_epochs}'
        done = runner.iter + 1
        self._bars.update(self._training, completed=done, description=text)
        if self._due() or done == runner.max_iters:
            self._show(runner)

    def _before_epoch(self, runner: Runner, mode: str = 'train') -> None:
        """Show the batches of a validation or a test."""
        if mode != 'train':
            total = len(getattr(runner, f'{mode}_dataloader'))
            title = 'validation' if mode == 'val' else mode
            self._evaluation = self._bars.add_task(title, total=total)

    def after_val_iter(self, *args: Any, **kwargs: Any) -> None:
        """Advance."""
        if self._evaluation is not None:
            self._bars.advance(self._evaluation)
        if self._live is not None and self._due():
            self._live.refresh()

    after_test_iter = after_val_iter

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Show the metrics; of areas, their loss over that of the mean."""
        if self._evaluation is not None:
            self._bars.remove_task(self._evaluation)
        self._evaluation = None
        numbers = (metrics or {}).items()
        self._metrics = {k: x for k, x in numbers if isinstance(x, float)}
        self._show(runner)

    def after_test_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Leave the metrics to the log."""
        self._evaluation = None

    def _due(self) -> bool:
        now = time.monotonic()
        due = now - self._looked > _PAUSE
        self._looked = now if due else self._looked
        return due

    def _show(self, runner: Runner) -> None:
        """A line per area or loss; validations behind them, or below."""
        losses = {
            name.removeprefix('train/loss').lstrip('_') or 'all': scalar
            for name, scalar in runner.message_hub.log_scalars.items()
            if name.startswith('train/loss')
        }
        known = {f'{name}/ratio' for name in losses} & set(self._metrics)
        table = Table('', 'loss', box=None)
        if known:
            table.add_column('validation / that of the mean')
        for name, scalar in losses.items():
            ratio = self._metrics.get(f'{name}/ratio')
            validated = [f'{ratio:.3f}'] if ratio is not None else []
            table.add_row(name, f'{scalar.mean(10):.4f}', *validated)
        if not known:
            for name, value in self._metrics.items():
                table.add_row(name, f'{value:.4f}')
        if self._live is not None:
            self._live.update(Group(self._bars, table), refresh=True)
