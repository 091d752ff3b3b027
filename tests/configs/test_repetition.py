"""Configs say each number once, and stay flat enough to be read."""

from __future__ import annotations

import ast
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
BLOCK = 6
FILES = sorted(CONFIGS.rglob('*.py'))


def _lines(path: Path) -> list[str]:
    """Lines of code, without comments that stand alone."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    return [line for line in lines if line and not line.startswith('#')]


def _bases(path: Path) -> list[Path]:
    """Files of this repository that a config inherits."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign):
            (target,) = node.targets
            if isinstance(target, ast.Name) and target.id == '_base_':
                named = ast.literal_eval(node.value)
                named = [named] if isinstance(named, str) else named
                ours = [name for name in named if '::' not in name]
                return [(path.parent / name).resolve() for name in ours]
    return []


def _levels(path: Path) -> int:
    return max((1 + _levels(base) for base in _bases(path)), default=0)


def test_few_lines_repeat_another_config():
    """Blocks of equal lines that a config has before; one copy is free."""
    seen: set[tuple[str, ...]] = set()
    total = repeated = 0
    for path in FILES:
        lines = _lines(path)
        starts = range(len(lines) - BLOCK + 1)
        blocks = [tuple(lines[i : i + BLOCK]) for i in starts]
        copied = {
            start + offset
            for start in starts
            if blocks[start] in seen
            for offset in range(BLOCK)
        }
        seen.update(blocks)
        total += len(lines)
        repeated += len(copied)
    assert repeated <= 0.2 * total, f'{repeated} of {total} lines'


def test_two_levels_at_most():
    assert [path for path in FILES if _levels(path) > 2] == []
