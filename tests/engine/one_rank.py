"""One of two processes: what hooks and the metric say; for test_two_ranks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import torch
from mmengine.dataset import BaseDataset, default_collate
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import distributed as dist

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.apis.launch import errors_named
from bimm_mm.engine import AreaLoss, FiniteLossHook, LabelCheckHook
from tests.engine.test_diagnosis import make_model


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


def check_labels(rank: int) -> str:
    """What LabelCheckHook raises; the list is wrong where rank 0 sees it."""
    sample = dict(filename='a.mp4', label=0 if rank else 7)
    dataset = BaseDataset(lazy_init=True, serialize_data=False)
    dataset.data_list, dataset._fully_initialized = [sample], True
    model = torch.nn.Module()
    model.num_classes = 3
    loader = SimpleNamespace(dataset=dataset)
    runner = SimpleNamespace(
        model=model, train_dataloader=loader, val_loop=None
    )
    try:
        LabelCheckHook().before_train(runner)
    except ValueError as error:
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


DIAGNOSIS = dict(type='bimm_mm.DiagnosisHook', interval=2, batch_size=2)


def train(folder: str, hooks: list[dict]) -> list[float]:
    """Losses of 4 steps on this rank, with other clips on either."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    size = (8, 1, 3, 4, 32, 32)
    clips = torch.randint(256, size, generator=rng, dtype=torch.uint8)
    # Unless told, mmengine gives the wrapper a GPU.
    wrapper = dict(type='MMDistributedDataParallel', device_ids=None)
    runner = Runner(
        model=make_model('branch'),
        work_dir=folder,
        train_dataloader=dict(
            dataset=[dict(inputs=x, data_samples=0) for x in clips],
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=default_collate,
            batch_size=2,
        ),
        train_cfg=dict(by_epoch=False, max_iters=4),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        custom_hooks=hooks,
        launcher='pytorch',
        randomness=dict(seed=3, diff_rank_seed=True),
        experiment_name=f'{len(hooks)}_hooks',
        cfg=dict(model_wrapper_cfg=wrapper),
    )
    runner.train()
    assert isinstance(runner.model, MMDistributedDataParallel)
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    return losses.tolist()


def answer(folder: Path) -> None:
    """Write what this rank says to a file of its own."""
    rank = int(os.environ['RANK'])
    dist.init_process_group('gloo')
    said = {
        'sound': stop(rank, 1.0),
        'bad': stop(rank, float('nan') if rank else 1.0),
        'labels': check_labels(rank),
        'metrics': evaluate(rank),
        'plain': train(str(folder / 'plain'), []),
        'diagnosed': train(str(folder / 'diagnosed'), [DIAGNOSIS]),
    }
    dist.barrier()
    (folder / f'{rank}.json').write_text(json.dumps(said))


def lose() -> None:
    """Say, on rank 0, what becomes of gloo's error after rank 1 has ended."""
    dist.init_process_group('gloo')
    if int(os.environ['RANK']):
        os._exit(0)
    try:
        with errors_named('work_dir'):
            dist.barrier()
    except ChildProcessError as error:
        print(error, flush=True)
        os._exit(1)
