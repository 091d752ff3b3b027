"""Count the files that cannot be decoded, list them, and know when to stop."""

from __future__ import annotations

import os
from collections.abc import Mapping

from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from bimm_mm.registry import HOOKS
from bimm_mm.utils.files import write_text

_SHOWN = 10


@HOOKS.register_module()
class BadVideoHook(Hook):
    """Lists what :class:`bimm_mm.ResilientDataset` replaced.

    At the end of every epoch the log says how many loaded files of all ranks
    were replaced and which they were, with reasons; ``undecodable.txt`` in
    the work directory has all files found so far, a path and a reason per
    line with a tab between. Above ``max_share`` the run stops: as soon as
    one rank's files of the epoch show it, or at the end of the epoch.

    Args:
        max_share: Largest share of loaded files, in [0, 1], that may be
            undecodable.
        min_seen: Files that a rank has loaded in an epoch from which on it
            stops before the epoch's end: one bad file among three says
            little.
    """

    def __init__(
        self, max_share: float = 0.05, *, min_seen: int = 200
    ) -> None:
        if not 0 <= max_share <= 1:
            raise ValueError(f'max_share must be in [0, 1], got {max_share}')
        self.max_share = max_share
        self.min_seen = min_seen
        self._seen = 0
        self._bad: list[tuple[str, str]] = []
        self._known: dict[str, str] = {}

    def before_train_epoch(self, runner: Runner) -> None:
        """Reset the counts of the epoch."""
        self._seen, self._bad = 0, []

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Count this rank's batch.

        Raises:
            RuntimeError: If too large a share was undecodable.
        """
        # With repeated augmentation, one sample of every file has the list.
        lists = [
            sample.get('replaced')
            for sample in data_batch['data_samples']
            if 'replaced' in sample
        ]
        new = [bad for replaced in lists for bad in replaced]
        self._seen += len(lists) + len(new)
        self._bad += new
        if new and self._seen >= self.min_seen:
            self._stop_above_share(runner, self._seen, self._bad)

    def after_train_epoch(self, runner: Runner) -> None:
        """Gather, log and write what all ranks found.

        Raises:
            RuntimeError: If too large a share was undecodable; on all ranks.
        """
        ranks = all_gather_object((self._seen, self._bad))
        seen = sum(count for count, _ in ranks)
        bad = [entry for _, entries in ranks for entry in entries]
        if not bad:
            return
        self._stop_above_share(runner, seen, bad)
        if is_main_process():
            self._write(runner, bad)
        # MMEngine drops a warning that it has shown before: the number makes
        # that of every epoch another.
        runner.logger.warning(
            f'{_count(bad, seen)} and replaced in epoch {runner.epoch + 1}.\n'
            f'{_listing(bad)}\nAll of them: {_path(runner)}'
        )

    def _stop_above_share(
        self, runner: Runner, seen: int, bad: list[tuple[str, str]]
    ) -> None:
        if len(bad) <= self.max_share * seen:
            return
        self._write(runner, bad)
        raise RuntimeError(
            f'{_count(bad, seen)}, more than max_share={self.max_share:g}:\n'
            f'{_listing(bad)}\nAll of them: {_path(runner)}. Repair or '
            'remove these files, or raise max_share of bimm_mm.BadVideoHook'
        )

    def _write(self, runner: Runner, bad: list[tuple[str, str]]) -> None:
        """Write all files known so far, as a whole."""
        self._known.update(bad)
        lines = [f'{name}\t{why}\n' for name, why in self._known.items()]
        write_text(''.join(sorted(lines)), _path(runner))


def _path(runner: Runner) -> str:
    return os.path.join(runner.work_dir, 'undecodable.txt')


def _count(bad: list[tuple[str, str]], seen: int) -> str:
    return (
        f'{len(bad)} of {seen} samples drawn ({len(bad) / seen:.1%}), of '
        f'{len(dict(bad))} files, were undecodable'
    )


def _listing(bad: list[tuple[str, str]]) -> str:
    files = sorted(dict(bad).items())
    lines = [f'  {path}: {reason}' for path, reason in files[:_SHOWN]]
    if len(files) > _SHOWN:
        lines.append(f'  and {len(files) - _SHOWN} more')
    return '\n'.join(lines)
