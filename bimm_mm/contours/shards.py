"""Parts of a dataset, for several processes or machines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar('Item')


@dataclass(frozen=True)
class Shard:
    """One of ``count`` parts, which need to know nothing of each other.

    Args:
        index (int): From 1 to ``count``. Defaults to 1.
        count (int): Defaults to 1: all.

    Raises:
        ValueError: If there is no such part.
    """

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ValueError(
                f'shard {self}: there are shards 1/{self.count} to '
                f'{self.count}/{self.count}'
                if self.count > 0
                else f'shard {self}: there must be at least one'
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``'2/8'``, the second of eight.

        Raises:
            ValueError: If it is nothing of that kind.
        """
        match = re.fullmatch(r'(\d+)/(\d+)', text)
        if not match:
            raise ValueError(f'shard {text!r} is not like 2/8')
        return cls(int(match[1]), int(match[2]))

    def split(self, rank: int, ranks: int) -> Shard:
        """The part of this part that is for one of several ranks."""
        return Shard(self.index + self.count * rank, self.count * ranks)

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every ``count``-th item, so that parts are alike in cost."""
        return items[self.index - 1 :: self.count]

    def __str__(self) -> str:
        return f'{self.index}/{self.count}'
