"""One of two processes that train, first without the hook and then with it.

Started by test_two_processes.py; not a test itself.
"""

from __future__ import annotations

import json
import sys

import torch
from mmengine.dataset import default_collate
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from torch import distributed as dist

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.models import BIMM
from bimm_mm.registry import HOOKS
from bimm_mm.utils.processes import end_processes


class Keep(Hook):
    """Keeps the losses of every step, exactly."""

    def __init__(self) -> None:
        self.losses: list[dict[str, float]] = []

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ) -> None:
        self.losses.append({k: v.item() for k, v in outputs.items()})


def train(name: str, folder: str, model: dict, hooks: list[dict]) -> list:
    """Losses of 4 steps on this rank."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    clips = [
        dict(
            inputs=torch.randint(
                255, (1, 3, 4, 32, 32), generator=rng, dtype=torch.uint8
            ),
            data_samples=index,
        )
        for index in range(8)
    ]
    keep = Keep()
    # Unless told, mmengine gives the wrapper a GPU.
    wrapper = dict(type='MMDistributedDataParallel', device_ids=None)
    runner = Runner(
        model=BIMM(
            **model,
            data_preprocessor=dict(type='bimm_mm.ClipDataPreprocessor'),
        ),
        work_dir=f'{folder}/{name}',
        train_dataloader=dict(
            dataset=clips,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=default_collate,
            batch_size=2,
        ),
        train_cfg=dict(by_epoch=False, max_iters=4),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        custom_hooks=[*(HOOKS.build(hook) for hook in hooks), keep],
        launcher='pytorch',
        randomness=dict(seed=3, diff_rank_seed=True),
        experiment_name=name,
        cfg=dict(model_wrapper_cfg=wrapper),
    )
    runner.train()
    assert isinstance(runner.model, MMDistributedDataParallel)
    return keep.losses


if __name__ == '__main__':
    folder, rank = sys.argv[1], int(sys.argv[2])
    with open(f'{folder}/model.json') as file:
        config = json.load(file)
    torch.set_num_threads(1)
    dist.init_process_group(
        'gloo',
        init_method=f'file://{folder}/store',
        rank=rank,
        world_size=2,
    )
    hook = dict(type='bimm_mm.DiagnosisHook', interval=2, batch_size=2)
    answer = {
        'plain': train('plain', folder, config, []),
        'hook': train('hook', folder, config, [hook]),
    }
    dist.barrier()
    print(json.dumps(answer))
    end_processes()
