"""One of two processes: what the hook and the metric say, as JSON.

Started by test_two_ranks.py; not a test itself.
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import torch
from mmengine.structures import BaseDataElement
from torch import distributed as dist

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.engine import AreaLoss, FiniteLossHook
from bimm_mm.utils.processes import end_processes


def stop(rank: int, loss: float) -> str:
    """What FiniteLossHook raises on this rank; '' if it does not."""
    sample = BaseDataElement(metainfo=dict(path=f'clip_of_{rank}.mp4'))
    losses = {'loss': torch.tensor(loss), 'loss_V1': torch.tensor(loss)}
    runner = SimpleNamespace(rank=rank, iter=6)
    try:
        FiniteLossHook().after_train_iter(
            runner, 0, dict(data_samples=[sample]), losses
        )
    except FloatingPointError as error:
        return str(error)
    return ''


def evaluate(rank: int) -> dict[str, float]:
    """AreaLoss of three targets on rank 0 and one on rank 1, guessing 0."""
    target = torch.tensor([[1.0, 2.0, 3.0], [6.0]][rank]).view(1, -1, 1)
    output = SimpleNamespace(
        prediction=torch.zeros_like(target), target=target
    )
    metric = AreaLoss()
    metric.process({}, [{'V1': output}])
    return metric.evaluate(4)


if __name__ == '__main__':
    store, this_rank = sys.argv[1], int(sys.argv[2])
    dist.init_process_group(
        'gloo', init_method=f'file://{store}', rank=this_rank, world_size=2
    )
    bad = float('nan') if this_rank else 1.0
    answer = {
        'sound': stop(this_rank, 1.0),
        'bad': stop(this_rank, bad),
        'metrics': evaluate(this_rank),
    }
    print(json.dumps(answer))
    end_processes()
