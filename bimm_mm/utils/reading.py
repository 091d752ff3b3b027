"""Which file a worker of a dataloader was reading when it died.

A process that dies says nothing. Before it reads a file it writes the name,
in a few microseconds, into a file of its own in a folder that the run names in
the environment.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bimm_mm.utils.video import FATAL_FILES, NOTES, fatal_files

# What torch.utils.data says, with the processes if it knows them.
_DEATH = re.compile(
    r'DataLoader (?:worker \(pid(?:\(s\))? ([\d, ]+)\)|timed out)'
)


class WorkerDiedError(ChildProcessError):
    """A worker of a dataloader died, or did not come back."""


@contextmanager
def worker_deaths_named(listed: str | Path | None) -> Iterator[int]:
    """Name the file at which a worker dies while the context lasts.

    ``listed`` is a text file of such files, a path per line, which are not
    read again; a new one is added. Yields how many files are listed.

    Raises:
        WorkerDiedError: In place of what PyTorch says.
    """
    fatal_files.cache_clear()
    # Workers inherit the environment however they are started.
    with TemporaryDirectory('_bimm_mm', ignore_cleanup_errors=True) as folder:
        os.environ.update({NOTES: folder, FATAL_FILES: str(listed or '')})
        try:
            with _death_awaited():
                yield len(fatal_files(os.environ[FATAL_FILES]))
        except RuntimeError as error:
            death = _DEATH.match(str(error))
            if death is None:
                raise
            files = _blamed(folder, death[1])
            raise WorkerDiedError(_explain(error, files, listed)) from error
        finally:
            del os.environ[NOTES], os.environ[FATAL_FILES]


@contextmanager
def _death_awaited() -> Iterator[None]:
    """Let PyTorch tell a death of which only a closed socket is seen.

    A process that dies closes its sockets, from which this one may be taking
    a batch, before the signal comes by which PyTorch learns of it.
    """
    try:
        yield
    except (EOFError, ConnectionError):
        time.sleep(5)  # PyTorch's handler ends it with its own error
        raise


def _blamed(folder: str, processes: str | None) -> list[str]:
    """Files that dead processes were reading, or the one read for longest."""
    notes = list(Path(folder).glob('*'))  # whoever tidies up may be quick
    if processes is not None:
        dead = processes.split(', ')
        notes = [note for note in notes if note.name in dead]
    notes.sort(key=lambda note: note.stat().st_mtime)
    names = [note.read_bytes().partition(b'\0')[0] for note in notes]
    files = [os.fsdecode(name) for name in names if name]
    return files if processes is not None else files[:1]


def _explain(
    error: RuntimeError, files: list[str], listed: str | Path | None
) -> str:
    # A queue that was found empty, which is no reason, has no text.
    said = str(error.__cause__ or '') or str(error)
    said = ' '.join(said.split()).rstrip('.')
    if not files:
        return (
            f'{said}, and no file was being read: if memory ran out, lower '
            'num_workers or batch_size'
        )
    text = f'{said} while reading {" and ".join(files)}'
    if listed is None:
        return f'{text}: repair or remove it'
    with open(listed, 'ab') as stream:
        stream.write(b''.join(os.fsencode(file) + b'\n' for file in files))
    return (
        f'{text}. It is listed in {listed}, and --resume leaves it out; '
        'delete its line there to have it read again'
    )
