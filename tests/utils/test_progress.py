"""Progress: a line now and then where the output is no terminal."""

from __future__ import annotations

from bimm_mm.utils import progress


def test_a_log_gets_a_line_now_and_then(monkeypatch, capsys):
    options = {'total': 6, 'title': 'contours', 'amount': lambda x: x}
    assert list(progress.track([1, 2, 3], **options)) == [1, 2, 3]
    assert not capsys.readouterr().err.strip()
    monkeypatch.setattr(progress, 'INTERVAL', -1)
    list(progress.track([1, 2, 3], **options))
    lines = capsys.readouterr().err.strip().splitlines()
    assert [line.split(',')[0] for line in lines] == [
        'contours: 1 of 6',
        'contours: 3 of 6',
        'contours: 6 of 6',
    ]
