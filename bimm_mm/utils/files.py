"""Files that appear whole or not at all, and their hashes."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import math
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout

_KINDS = {stat.S_IFIFO: 'a pipe', stat.S_IFDIR: 'a folder'}
# Temporary names that atomic_path gives.
DRAFT = re.compile(r'\.\d+-[0-9a-f]{8}_(?P<name>.+)')


@contextmanager
def atomic_path(
    path: str | Path, *, sync: bool = False, folder: bool = False
) -> Iterator[Path]:
    """Give a temporary path to write to; move it in place at the end.

    Args:
        path: The final path, ``~`` being the home directory; the folder that
            it lies in is made.
        sync: Whether to wait until the content is on the disk, so that a
            power cut cannot leave an empty file under the final name.
        folder: Whether it is of a new folder, and not of a file.

    Yields:
        A path in the same folder, with the same suffix; an empty file, or
        folder, is there.

    Raises:
        OSError: If the file cannot be written, for instance because the disk
            is full. It names ``path`` and has the system's ``errno``.
    """
    path = Path(os.path.expanduser(path))
    # The process id alone repeats among containers that share a disk.
    draft = path.with_name(f'.{os.getpid()}-{os.urandom(4).hex()}_{path.name}')
    try:
        if not path.parent.exists():  # a file there fails when it is used
            path.parent.mkdir(parents=True, exist_ok=True)
        if folder:
            draft.mkdir()
        with nullcontext() if folder else _start(draft):
            yield draft
            if sync:
                with open(draft, 'rb') as file:
                    os.fsync(file.fileno())
            os.replace(draft, path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        with suppress(NotADirectoryError):  # it would hide the error
            draft.unlink(missing_ok=True)


def _start(draft: Path) -> IO[bytes]:
    """Make a file, which others leave alone until it is closed."""
    while True:
        file = open(draft, 'xb')  # noqa: SIM115
        with suppress(OSError):  # the disk has no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if draft.exists():  # none has removed it before the lock
            return file
        file.close()


def remove_draft(draft: Path) -> None:
    """Remove what a killed process left, if no other is writing it."""
    with suppress(OSError), open(draft, 'rb+') as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.unlink()


def check_folder(
    folder: str | Path, *, remedy: str = 'give another --out'
) -> None:
    """Raise an OSError with a remedy where nothing can be written."""
    path = Path(os.path.expanduser(folder)).absolute()
    there = next(x for x in (path, *path.parents) if x.exists())
    try:
        TemporaryDirectory(dir=there).cleanup()
    except OSError as error:
        raise OSError(
            f'{folder} cannot be written ({error.strerror}): {remedy}'
        ) from None


def check_file(path: str | Path) -> None:
    """Raise an OSError with a remedy where a file cannot be written."""
    path = Path(os.path.expanduser(path))
    if path.is_dir():
        raise IsADirectoryError(f'{path} is a folder: name a file in it')
    check_folder(path.parent)


class BusyError(ValueError):
    """Another process writes there."""


@contextmanager
def locked(folder: Path, *, wait: float = 0) -> Iterator[None]:
    """Make a folder and keep it, also within where it is kept.

    A BusyError if another process has it for longer than ``wait``, in s;
    -1 waits until it has ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / '.lock', is_singleton=True)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise BusyError(
            f'another command writes into {folder}: wait until it has ended, '
            'or give another folder'
        ) from None
    except (NotImplementedError, OSError):
        pass  # the disk has no locks
    try:
        yield
    finally:
        lock.release()


def remove_drafts(folder: str | Path, of: Callable[[str], bool]) -> None:
    """Remove what killed processes left of files with such names."""
    for path in Path(folder).glob('.*'):
        draft = DRAFT.fullmatch(path.name)
        if draft and of(draft['name']):
            remove_draft(path)


def write_bytes(
    content: bytes, path: str | Path, *, sync: bool = False
) -> None:
    """Write bytes in one piece; see :func:`atomic_path` for errors."""
    with atomic_path(path, sync=sync) as draft:
        draft.write_bytes(content)


def write_text(text: str, path: str | Path) -> None:
    r"""Write text (UTF-8) in one piece; see :func:`atomic_path` for errors.

    The bytes of names of files that are no UTF-8 become ``\udcff`` and so on.
    """
    write_bytes(text.encode(errors='backslashreplace'), path)


def write_any_name(stream: Any) -> None:
    r"""Let a text stream show names that are no UTF-8, as ``\udcff``."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors='backslashreplace')


def show_any_name(text: str) -> str:
    r"""What pictures can show of names that are no UTF-8: ``\udcff``."""
    return text.encode(errors='backslashreplace').decode()


def one_line(error: Exception) -> str:
    """An error as one line of at most 200 characters."""
    # No addresses of objects, no codes of terminals.
    text = re.sub(r' at 0x[0-9a-f]+|\x1b\[[0-9;]*m', '', str(error))
    text = ' '.join(text.split())
    return f'{type(error).__name__}: {text}'[:200]


def write_reasons(reasons: Mapping[str, str], path: str | Path) -> None:
    """Write a line per file, in order: its name, a tab, what is wrong.

    Names keep their bytes, but a tab or a line break in one becomes a space.
    """
    lines = sorted(
        re.sub(r'[\t\r\n]', ' ', name) + f'\t{reason}\n'
        for name, reason in reasons.items()
    )
    write_bytes(''.join(lines).encode(errors='surrogateescape'), path)


def write_json(content: Any, path: str | Path) -> None:
    """Write readable JSON in one piece; NaN and infinity become null."""
    text = json.dumps(_strict(content), indent=2, allow_nan=False)
    write_text(text + '\n', path)


def write_first(content: Mapping[str, Any], path: str | Path) -> None:
    """Write JSON unless the file is there: of several writers the first wins.

    Where a disk has no hard links, the last of those that write at once.
    """
    if os.path.exists(path):
        return
    with suppress(FileExistsError), atomic_path(path) as draft:
        draft.write_text(json.dumps(content, indent=2) + '\n')
        try:
            os.link(draft, path)  # to move it there then changes nothing
        except FileExistsError:
            raise
        except OSError:
            pass


def regular_file(path: str | Path) -> Path:
    """Where to read, as nothing else than a file is sure to end.

    Raises:
        OSError: If there is no such file.
        ValueError: If it is a folder, or what would be waited for.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), 'a device')
        raise ValueError(f'{path} is {kind}, not a file: give one')
    return Path(path)


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a file that is one JSON object; a ValueError names a bad one."""
    file = regular_file(path)
    try:
        content = json.loads(file.read_text('utf-8'))
    except (RecursionError, ValueError) as error:
        raise ValueError(f'{path} is no JSON file: {error}') from error
    if not isinstance(content, dict):
        raise ValueError(f'{path} is no JSON object, which starts with {{')
    return content


def sha256_of_file(path: str | Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits."""
    with open(regular_file(path), 'rb') as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _strict(content: Any) -> Any:
    """JSON has no NaN, no infinity and no NumPy, which metrics may have."""
    if isinstance(content, np.generic):
        content = content.item()
    if isinstance(content, dict):
        return {key: _strict(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_strict(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
