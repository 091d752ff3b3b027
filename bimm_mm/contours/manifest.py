"""The manifest: what the contours of a whole dataset are."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from bimm_mm.contours.format import (
    FORMAT,
    TOOL,
    ContourError,
    ContourFile,
    differences,
    plain_settings,
)
from bimm_mm.utils.files import write_text

MANIFEST = 'manifest.json'


@dataclass(frozen=True)
class Manifest:
    """``<contour_root>/manifest.json``, written before the first contour.

    Args:
        settings: All that changes the contours, for JSON: ``detector`` with
            its options, ``packing`` (the
            :class:`~bimm_mm.contours.compression.Compression`), ``stride``
            and ``side``. Every contour file of the dataset has the same.
        command: What makes the dataset's contours (again).

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
            contour_root: The folder.

        Raises:
            FileNotFoundError: If the folder or its manifest is missing.
            ContourError: If ``contour_root`` is a file, or the manifest is
                broken or of another format.
        """
        path = os.path.join(contour_root, MANIFEST)
        try:
            with open(path, encoding='utf-8') as stream:
                content = json.load(stream)
            made = content['format']
            if made == FORMAT:
                return cls(content['settings'], str(content['command']))
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'contour_root={contour_root!r} has no {MANIFEST}: make '
                f'contours with {TOOL} DATA_ROOT --out {contour_root}, or '
                'compute Sobel edges on the device instead, a deviation from '
                'the paper, with BIMM_CONTOURS=sobel before the command'
            ) from error
        except NotADirectoryError as error:
            raise ContourError(
                f'contour_root={contour_root!r} is a file: name the folder '
                f'which {TOOL} wrote'
            ) from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ContourError(
                f'{path} is not a sound manifest ({error!r}): delete it and '
                f'run {TOOL} again with the settings it had'
            ) from error
        raise ContourError(
            f'{path} has contour format {made}, this version reads format '
            f'{FORMAT}: delete the folder and make the contours again with '
            f'{TOOL}'
        )

    def write(self, contour_root: str) -> None:
        """Write the manifest, or agree with the one that is there.

        One with equal settings is left as it is. Files written before a
        change of settings would otherwise stay beside newer ones.

        Args:
            contour_root: The folder; it is made.

        Raises:
            ContourError: If there is one with other settings, or a broken
                one.
            OSError: If it cannot be written.
        """
        try:
            there = Manifest.read(contour_root)
        except FileNotFoundError:
            content = {
                'format': FORMAT,
                'settings': self.settings,
                'command': self.command,
            }
            text = json.dumps(content, indent=2, sort_keys=True)
            path = os.path.join(contour_root, MANIFEST)
            write_text(f'{text}\n', path)
            return
        if changes := differences(there.settings, self.settings):
            raise ContourError(
                f'{contour_root} has contours of other settings (old != '
                f'new):{_lines(changes)}\nwrite the new ones to another '
                'folder (--out), or delete this one'
            )

    def check(self, file: ContourFile) -> None:
        """Refuse a contour file of other settings.

        Args:
            file: The file.

        Raises:
            ContourError: If it is not one of this dataset; says how to make
                it again.
        """
        if changes := differences(file.settings, self.settings):
            raise ContourError(
                f'{file.path} was made with other settings than '
                f'its manifest has (file != manifest):{_lines(changes)}\n'
                f'delete it and make it again: {self.command}'
            )


def _lines(changes: list[str]) -> str:
    return ''.join(f'\n  {change}' for change in changes)
