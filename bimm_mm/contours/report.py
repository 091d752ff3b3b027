"""What became of some videos and images."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Report:
    """Counts of an extraction; reports of parts add up.

    Args:
        files (int): Contour files that were written. Defaults to 0.
        frames (int): Contours in them. Defaults to 0.
        bytes (int): Their size. Defaults to 0.
        skipped (int): Files that were finished before. Defaults to 0.
        broken (int): Files that were there, but not sound, and had to be made
            again. Defaults to 0.
        failed (list[tuple[str, str]]): Path and reason of every video and
            image that cannot be read. Defaults to none.
    """

    files: int = 0
    frames: int = 0
    bytes: int = 0
    skipped: int = 0
    broken: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All videos and images it is about."""
        return self.files + self.skipped + len(self.failed)

    def __add__(self, other: Report) -> Report:
        return Report(
            self.files + other.files,
            self.frames + other.frames,
            self.bytes + other.bytes,
            self.skipped + other.skipped,
            self.broken + other.broken,
            self.failed + other.failed,
        )
