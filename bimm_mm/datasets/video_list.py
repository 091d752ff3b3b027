"""The videos of a list, by number."""

from __future__ import annotations

import hashlib
import os.path as osp
from dataclasses import dataclass, field

from mmengine.fileio import list_from_file

from bimm_mm.utils.list_file import check_list_file
from bimm_mm.utils.video import media_name


@dataclass(frozen=True)
class VideoList:
    """Videos in the order in which a list names them.

    The number of a video is its place among them, from 0; one that is listed
    again keeps its first. It does not depend on the label.

    Args:
        ann_file (str): The list, ``path label`` per line.
        data_root (str): Folder to which its paths are relative.
        delimiter (str): Between path and label. Defaults to ' '.

    Raises:
        FileNotFoundError: If there is no such list.
        ValueError: If it is empty or malformed.
    """

    ann_file: str
    data_root: str
    delimiter: str = ' '
    _numbers: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_list_file(
            self.ann_file, delimiter=self.delimiter, splits_paths=True
        )
        lines = list_from_file(self.ann_file)
        listed = [line.strip().split(self.delimiter)[0] for line in lines]
        paths = (osp.join(self.data_root, name) for name in listed)
        names = dict.fromkeys(self._name(path) for path in paths)
        numbers = {name: number for number, name in enumerate(names)}
        object.__setattr__(self, '_numbers', numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def paths(self) -> list[str]:
        """Paths of the videos."""
        return [osp.join(self.data_root, name) for name in self._numbers]

    @property
    def digest(self) -> str:
        """What two lists share that number the same videos alike."""
        text = '\n'.join(self._numbers)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def number(self, path: str) -> int:
        """Number of a video.

        Args:
            path (str): Its path, below ``data_root``.

        Returns:
            int: From 0.

        Raises:
            FileNotFoundError: If the list does not name it.
        """
        name = self._name(path)
        if name not in self._numbers:
            raise FileNotFoundError(
                f'{path} is not among the {len(self)} videos that '
                f'{self.ann_file} lists relative to {self.data_root!r}: add '
                f'{name!r} to that list, or set data_root to the folder in '
                'which the dataset looks for its videos (data_prefix)'
            )
        return self._numbers[name]

    def _name(self, path: str) -> str:
        """One name for a video, however its path is written."""
        return media_name(osp.relpath(path, self.data_root or '.'))
