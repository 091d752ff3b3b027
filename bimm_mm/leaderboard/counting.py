"""GFLOPs and parameters of a table's models, counted from their configs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mmengine.config import Config

from bimm_mm.apis.flops import count_config
from bimm_mm.leaderboard.tables import COUNTED, Finetuning, TableFile


def model_key(finetuning: Finetuning) -> str:
    """What tells the model of a finetuning from others."""
    return f'{finetuning.config} {dict(finetuning.options)}'


def count_models(files: Iterable[TableFile]) -> dict[str, dict[str, float]]:
    """Count every model whose table has a column for it.

    Args:
        files (Iterable[TableFile]): Tables.

    Returns:
        dict: ``'gflops'`` (billions of multiply-adds of one view) and
        ``'parameters'`` (millions) by :func:`model_key`.
    """
    counts: dict[str, dict[str, float]] = {}
    for file in files:
        for table in file.tables:
            names = {m.benchmark for m in table.metrics if m.key in COUNTED}
            for row in table.rows:
                for name in names & set(row.finetune):
                    key = model_key(row.finetune[name])
                    if key not in counts:
                        counts[key] = _count(row.finetune[name])
    return counts


def _count(finetuning: Finetuning) -> dict[str, float]:
    cfg = Config.fromfile(Path(finetuning.config))
    cfg.merge_from_dict(dict(finetuning.options))
    work = count_config(cfg)
    return {'gflops': work.macs / 1e9, 'parameters': work.params / 1e6}
