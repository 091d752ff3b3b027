"""Imports go one way: from the ground floor up, in functions as well."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.golden.golden import clips, toy_model

ROOT = Path(__file__).resolve().parent.parent
# Every room may import those before it, and itself.
FLOORS = (
    ('version', 'registry'),
    ('utils', 'structures', 'compat', 'stimuli'),
    ('targets', 'models'),
    ('contours',),
    ('datasets',),
    ('engine',),
    ('apis', 'doctor'),
    ('cli',),
)
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted((ROOT / 'bimm_mm').rglob('*.py'))


def _imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, in functions too, but not for types."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: imports are absolute'
            yield node.module or ''
            yield from (f'{node.module}.{alias.name}' for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _room(parts: tuple[str, ...]) -> str:
    return parts[1] if len(parts) > 1 else 'version'


@pytest.mark.parametrize(
    'path', FILES, ids=lambda path: str(path.relative_to(ROOT))
)
def test_imports_go_down(path):
    here = _room(path.relative_to(ROOT).with_suffix('').parts)
    for module in _imports(path):
        if module.split('.')[0] in ('projects', 'benchmarks', 'tools'):
            raise AssertionError(f'{path.name} imports {module}')
        if module.split('.')[0] == 'bimm_mm' and here != '__init__':
            there = _room(tuple(module.split('.')))
            assert FLOOR[there] <= FLOOR[here], f'{here} imports {module}'


def test_no_file_of_one_floor_imports_in_a_circle():
    graph = {
        '.'.join(path.relative_to(ROOT).with_suffix('').parts): [
            module
            for module in _imports(path)
            if module.startswith('bimm_mm.')
        ]
        for path in FILES
        if path.name != '__init__.py'
    }
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, ' -> '.join((*above, module))
        if module in graph and module not in done:
            for below in graph[module]:
                visit(below, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_a_joint_step_is_read_in_twelve_files():
    model = toy_model(Path('configs/bimm/pretrain_joint_k400.py'))
    called = set()
    sys.setprofile(lambda frame, *_: called.add(frame.f_code.co_filename))
    try:
        model.parse_losses(model(clips(16)))[0].backward()
    finally:
        sys.setprofile(None)
    ours = {path for path in map(Path, called) if path in FILES}
    assert 10 < len(ours) <= 12, sorted(ours)
