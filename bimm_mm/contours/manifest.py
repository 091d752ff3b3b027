"""The manifest: what the contours of a whole dataset are."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from bimm_mm.contours.settings import differences, plain_settings
from bimm_mm.contours.store import FORMAT, ContourError, ContourFile
from bimm_mm.utils.files import write_text

MANIFEST = 'manifest.json'


@dataclass(frozen=True)
class Manifest:
    """``<contour_root>/manifest.json``, written before the first contour.

    Args:
        settings (dict): Those of the detector, ``packing``, ``stride`` and
            ``side``; every contour file of the dataset has the same.
        command (str): What makes the dataset's contours (again).

    Raises:
        ValueError: If settings lack ``detector`` or ``stride``, or do not
            fit into JSON.
    """

    settings: dict[str, Any]
    command: str

    def __post_init__(self) -> None:
        object.__setattr__(self, 'settings', plain_settings(self.settings))

    @property
    def stride(self) -> int:
        """One of so many frames of a video has a contour."""
        return self.settings['stride']

    @classmethod
    def read(cls, contour_root: str) -> Manifest:
        """Read the manifest of a folder of contours.

        Args:
            contour_root (str): The folder.

        Raises:
            FileNotFoundError: If the folder or its manifest is missing.
            ContourError: If it is a file, or the manifest is broken or of
                another format.
        """
        path = os.path.join(contour_root, MANIFEST)
        try:
            with open(path, encoding='utf-8') as stream:
                content = json.load(stream)
            made = content['format']
            if made == FORMAT:
                return cls(content['settings'], str(content['command']))
        except FileNotFoundError as error:
            raise FileNotFoundError(_missing(contour_root)) from error
        except NotADirectoryError as error:
            raise ContourError(
                f'contour_root={contour_root!r} is a file: name the folder '
                'which tools/extract_contours.py wrote'
            ) from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ContourError(
                f'{path} is not a sound manifest ({error!r}): delete it and '
                'run tools/extract_contours.py again with the settings it had'
            ) from error
        raise ContourError(
            f'{path} has contour format {made}, this version reads format '
            f'{FORMAT}: delete the folder and make the contours again with '
            'tools/extract_contours.py'
        )

    def write(self, contour_root: str) -> None:
        """Write the manifest, or agree with the one that is there.

        One with equal settings is left as it is. Files written before a
        change of settings would otherwise stay beside newer ones.

        Args:
            contour_root (str): The folder; it is made.

        Raises:
            ContourError: If there is one with other settings, or a broken
                one.
            OSError: If it cannot be written.
        """
        path = os.path.join(contour_root, MANIFEST)
        try:
            there = Manifest.read(contour_root)
        except FileNotFoundError:
            self._put(path)
            return
        changes = differences(there.settings, self.settings)
        if changes:
            raise ContourError(
                f'{contour_root} has contours of other settings (old != '
                f'new):{_lines(changes)}\nwrite the new ones to another '
                'folder (--out), or delete this one'
            )

    def check(self, file: ContourFile) -> None:
        """Refuse a contour file of other settings.

        Args:
            file (ContourFile): The file.

        Raises:
            ContourError: If it is not one of this dataset; says how to make
                it again.
        """
        changes = differences(file.settings, self.settings)
        if changes:
            raise ContourError(
                f'{file.path} was made with other settings than '
                f'its manifest has (file != manifest):{_lines(changes)}\n'
                f'delete it and make it again: {self.command}'
            )

    def _put(self, path: str) -> None:
        content = {
            'format': FORMAT,
            'settings': self.settings,
            'command': self.command,
        }
        text = json.dumps(content, indent=2, sort_keys=True)
        write_text(f'{text}\n', path)


def _missing(contour_root: str) -> str:
    return (
        f'contour_root={contour_root!r} has no {MANIFEST}: make contours with '
        'tools/extract_contours.py DATA_ROOT --out '
        f'{contour_root}, or compute Sobel edges on the device instead, '
        'a deviation from the paper, with BIMM_CONTOURS=sobel before the '
        'command'
    )


def _lines(changes: list[str]) -> str:
    return ''.join(f'\n  {change}' for change in changes)
