"""Count the files that cannot be decoded, list them, and know when to stop."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

from mmengine.dist import all_gather_object
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor

from bimm_mm.registry import HOOKS
from bimm_mm.utils.files import write_reasons

_SHOWN = 10


@HOOKS.register_module()
class BadVideoHook(Hook):
    """Lists what :class:`bimm_mm.ResilientDataset` replaced.

    At the end of every epoch, or where training counts iterations before every
    validation (without any, at every checkpoint), the log says how many loaded
    files of all ranks were replaced and which they were, with reasons;
    ``undecodable.txt`` in the work directory has all files found so far, a
    path and a reason per line with a tab between. Where more than
    ``max_share`` of the files, in [0, 1], are undecodable, however often each
    is met, the run stops with a ValueError: at the end of an epoch, after its
    checkpoint, or before, as soon as chance can no longer explain what one
    rank has met.
    """

    # After CheckpointHook, so that no epoch is lost.
    priority = 'LOWEST'

    def __init__(self, max_share: float = 0.05) -> None:
        if not 0 <= max_share <= 1:
            raise ValueError(f'max_share must be in [0, 1], got {max_share}')
        self.max_share = max_share
        self._seen = 0
        self._bad: dict[str, str] = {}  # of this epoch
        self._known: dict[str, str] = {}

    def before_train_epoch(self, runner: Runner) -> None:
        """Reset the counts of the epoch."""
        self._seen, self._bad = 0, {}

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Count this rank's batch."""
        # With repeated augmentation, one sample of every file has the list.
        samples = data_batch['data_samples']
        lists = [x.get('replaced') for x in samples if 'replaced' in x]
        # One good file stands for every file that was to be loaded, be it
        # that one or a replacement.
        self._seen += len(lists)
        self._bad.update(bad for replaced in lists for bad in replaced)
        files = len(self._bad)
        if any(lists) and beyond_chance(files, self._seen, self.max_share):
            self._stop(runner, self._seen, self._bad)
        if runner.val_loop is None and any(
            not hook.by_epoch
            and self.every_n_train_iters(runner, hook.interval)
            for hook in runner.hooks
            if isinstance(hook, CheckpointHook)
        ):
            self.before_val_epoch(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Gather, log and write what all ranks found; stop all of them."""
        ranks = all_gather_object((self._seen, self._bad))
        seen = sum(count for count, _ in ranks)
        bad = {path: why for _, found in ranks for path, why in found.items()}
        if not bad:
            return
        # An epoch may leave out the last batch: its files count as good.
        files = max(seen, len(runner.train_dataloader.dataset))
        if len(bad) > self.max_share * files:
            self._stop(runner, seen, bad)
        # MMEngine drops a warning that it has shown before: the number makes
        # that of every epoch another.
        words = f' and replaced in epoch {runner.epoch + 1}.'
        runner.logger.warning(self._report(runner, seen, bad, words))

    def before_val_epoch(self, runner: Runner) -> None:
        """The same where training counts iterations, and has one epoch."""
        by_iter = isinstance(runner.train_loop, IterBasedTrainLoop)
        if by_iter and self._seen:
            self.after_train_epoch(runner)

    def _stop(self, runner: Runner, seen: int, bad: Mapping[str, str]) -> None:
        words = f', more than max_share={self.max_share:g}:'
        raise ValueError(
            f'{self._report(runner, seen, bad, words)}. Repair or remove '
            'these files, or raise max_share of bimm_mm.BadVideoHook'
        )

    def _report(
        self, runner: Runner, seen: int, bad: Mapping[str, str], words: str
    ) -> str:
        """Write the files found so far; say what the last ones are."""
        self._known.update(bad)
        path = os.path.join(runner.work_dir, 'undecodable.txt')
        write_reasons(self._known, path)
        lines = [f'  {file}: {reason}' for file, reason in sorted(bad.items())]
        if len(lines) > _SHOWN:
            lines[_SHOWN:] = [f'  and {len(lines) - _SHOWN} more']
        share = len(bad) / seen
        return '\n'.join(
            [
                f'{len(bad)} of {seen} files ({share:.1%}) were undecodable'
                f'{words}',
                *lines,
                f'All of them: {path}',
            ]
        )


def beyond_chance(bad: int, seen: int, share: float) -> bool:
    """Whether so many bad files of those seen say that there are too many.

    Were the share of bad files just ``share``, as many as these would come
    less often than once in a million times (Chernoff's bound on the tail of
    the binomial distribution).
    """
    found = min(bad / seen, 1.0)
    if found <= share:
        return False
    if share == 0:
        return True
    divergence = found * math.log(found / share)
    if found < 1:
        divergence += (1 - found) * math.log((1 - found) / (1 - share))
    return seen * divergence > math.log(1e6)
