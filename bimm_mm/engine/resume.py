"""Where a run goes on: its newest whole checkpoint, and what is left to do."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop
from mmengine.runner.loops import _InfiniteDataloaderIterator

from bimm_mm.engine.accumulate import joined
from bimm_mm.utils.safe_load import read_checkpoint

_BEGAN = re.compile(r'\d{8}_\d{6}(_\d+)?$')  # how MMEngine's run names end


def newest_checkpoint(
    folder: str | Path, *, out_dir: str | Path | None = None
) -> str | None:
    """Find the newest whole checkpoint that a run can go on from.

    That is the last one of the run that began last, whatever
    ``last_checkpoint`` says.
    Damaged files, and a run of which nothing is left, are said.

    Args:
        folder: The work directory of the run.
        out_dir: That of its checkpoint hook, which writes into a folder there
            that is named like ``folder``.
    """
    folders = [Path(folder)]
    if out_dir is not None:
        folders.append(Path(out_dir) / Path(folder).name)
    for step, path in whole_checkpoints(folders):
        print_log(f'resuming from {path}, step {step}', 'current')
        return str(path)
    count = sum(len(_files(each)) for each in folders)
    # The run that asks has a log by now, but nothing trained.
    if count or any(Path(folder).glob('*/vis_data/scalars.json')):
        _warn(
            f'{folder} has a run, but no whole checkpoint that it could go '
            f'on from ({count} .pth files, all damaged or weights '
            'alone): TRAINING STARTS ANEW'
        )
    return None


def whole_checkpoints(
    folders: Iterable[str | Path], *, weights_only: bool = False
) -> Iterator[tuple[int, Path]]:
    """Give step and path of whole checkpoints in folders, the newest first.

    Damaged files are said. With ``weights_only`` those without optimizer
    state, from which a run cannot go on, come as well, after all others.
    """
    written = []
    for path in [path for folder in folders for path in _files(folder)]:
        with _passing_over(path):
            content = dict(read_checkpoint(path, mmap=True))
            meta = content['meta']
            resumable = 'optimizer' in content
            if resumable or weights_only:
                # An older run's may have more steps. Within one, clocks jump
                # back, as those of local time do every autumn.
                began = _BEGAN.search(str(meta.get('experiment_name')))
                start = began[0] if began else meta['time']
                key = resumable, start, meta['iter'], meta['time']
                written.append((*key, path))
    for _, _, step, _, path in sorted(written, reverse=True):
        whole = False
        with _passing_over(path):
            read_checkpoint(path)
            whole = True
        if whole:
            yield step, path


def _files(folder: str | Path) -> list[Path]:
    return sorted(Path(folder).glob('[!.]*.pth'))


@contextmanager
def _passing_over(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError:  # which says nothing of damage
        raise
    except (LookupError, OSError, TypeError, ValueError) as error:
        _warn(f'passed over {path}: {error}')


def _warn(text: str) -> None:
    print_log(text, 'current', logging.WARNING)


def validation_is_due(loop: Any) -> bool:
    """Whether a training loop validates at the step where it stands."""
    by_iter = isinstance(loop, IterBasedTrainLoop)
    unit = 1 if by_iter else len(loop.dataloader)
    done, rest = divmod(loop.iter, unit)
    if loop.runner.val_loop is None or rest or done < max(loop.val_begin, 1):
        return False
    loop._decide_current_val_interval()
    return done % loop.val_interval == 0 or loop.iter == loop.max_iters


def leave_out_trained(loop: Any) -> None:
    """Let a training loop begin behind the batches that were trained before.

    Nothing of them is loaded, unless samples without end come from a sampler
    of another kind than MMEngine's: its loop loads and drops them.
    """
    loader, batches = loop.dataloader, loop.dataloader.batch_sampler
    done, count = loop.iter, joined(loader)
    if not isinstance(loop, IterBasedTrainLoop):
        _leave_out(batches, count * (done - loop.epoch * len(loader)))
    elif isinstance(getattr(batches, 'sampler', None), InfiniteSampler):
        _leave_out(batches, count * done)
        # So often MMEngine's loop asks for a batch that it does not use.
        loop.dataloader_iterator = chain(
            repeat(None, done), _InfiniteDataloaderIterator(loader)
        )


def _leave_out(batches: Any, count: int) -> None:
    """Let a batch sampler begin later, the first time it is iterated over."""
    kind = type(batches)

    def rest(self: Any) -> Iterator[Any]:
        self.__class__ = kind
        yield from islice(self, count, None)

    # A class of its own until then: loaders keep the object itself.
    batches.__class__ = type(kind.__name__, (kind,), {'__iter__': rest})
