"""Writing a file in one piece."""

from __future__ import annotations

import os
from contextlib import suppress


def write_file(path: str, content: bytes) -> None:
    """Write a file; it appears whole or not at all.

    Args:
        path (str): The file; its folder is made.
        content (bytes): All of it.

    Raises:
        OSError: If it cannot be written, because the disk is full for
            instance; names ``path`` and has the system's ``errno``.
    """
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    # The process id alone repeats among containers that share a disk.
    draft = f'{path}.{os.getpid()}-{os.urandom(4).hex()}.tmp'
    try:
        with open(draft, 'wb') as stream:
            stream.write(content)
        os.replace(draft, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        with suppress(FileNotFoundError):
            os.remove(draft)
