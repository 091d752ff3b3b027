"""Which contour files are there, without asking for each of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock

_DRAFT = re.compile(r'(?P<name>.+)\.\d+(-[0-9a-f]+)?\.tmp')


@dataclass
class _Folder:
    names: set[str] = field(default_factory=set)
    drafts: dict[str, list[str]] = field(default_factory=dict)


class Finished:
    """Contour files by one listing per folder, made when first asked.

    Looking up a million files one by one takes minutes on a network file
    system. Threads may share one object.
    """

    def __init__(self) -> None:
        self._folders: dict[str, _Folder] = {}
        self._lock = Lock()

    def __contains__(self, path: str) -> bool:
        folder, name = os.path.split(path)
        return name in self._folder(folder).names

    def add(self, path: str) -> None:
        """Note a file that was written."""
        folder, name = os.path.split(path)
        self._folder(folder).names.add(name)

    def remove_drafts(self, path: str) -> None:
        """Remove what a killed process left of a contour file.

        Args:
            path (str): The contour file; drafts are named after it.
        """
        folder, name = os.path.split(path)
        for draft in self._folder(folder).drafts.pop(name, ()):
            _remove(os.path.join(folder, draft))

    def _folder(self, path: str) -> _Folder:
        with self._lock:
            if path not in self._folders:
                self._folders[path] = _list(path)
            return self._folders[path]


def _list(path: str) -> _Folder:
    folder = _Folder()
    for name in _names(path):
        if draft := _DRAFT.fullmatch(name):
            folder.drafts.setdefault(draft['name'], []).append(name)
        else:
            folder.names.add(name)
    return folder


def _names(path: str) -> Iterator[str]:
    try:
        with os.scandir(path or '.') as entries:
            yield from (entry.name for entry in entries)
    except FileNotFoundError:
        return


def _remove(path: str) -> None:
    # Another process may have finished or removed it meanwhile.
    if os.path.exists(path):
        os.remove(path)
