"""Files are whole or not there."""

from __future__ import annotations

import json

import pytest

from bimm_mm.apis import atomic, write_json


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / 'a' / 'b.json'
    write_json({'x': 1}, path)
    with pytest.raises(OSError, match='disk full'), atomic(path) as draft:
        draft.write_text('half')
        raise OSError('disk full')
    assert json.loads(path.read_text()) == {'x': 1}
    assert list(path.parent.iterdir()) == [path]
