"""Rank 0 measures, the others go on, and nobody's losses change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bimm_mm.engine.diagnosis_records import read_records


@pytest.mark.slow
def test_two_processes(tmp_path, bimm_cfg):
    (tmp_path / 'model.json').write_text(json.dumps(bimm_cfg))
    here = Path(__file__).resolve().parent
    script = str(here / 'one_rank_of_run.py')
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(tmp_path), str(rank)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                'PYTHONPATH': str(here.parents[2]),
                'LOCAL_RANK': str(rank),
            },
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=150) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors[-3000:]
    ranks = [json.loads(out.splitlines()[-1]) for out, _ in outputs]
    for losses in ranks:
        assert len(losses['plain']) == 4
        assert losses['hook'] == losses['plain']
    assert ranks[0]['hook'] != ranks[1]['hook']
    records = read_records(tmp_path / 'hook' / 'diagnosis.jsonl')
    assert [record['iter'] for record in records] == [0, 2, 4]
    assert (tmp_path / 'hook' / 'diagnosis.md').is_file()
