"""Tiny models of both kinds and runs of them in a second."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch.utils.data import Dataset

from bimm_mm.models import BIMM, MaskedBranch
from bimm_mm.structures import ClipBatch

ARCH = dict(embed_dims=24, depth=3, num_heads=2)


def _area(name: str, after_block: int, target: str) -> dict:
    return dict(
        name=name,
        after_block=after_block,
        decoder=dict(
            type='bimm_mm.TransformerDecoder',
            depth=1,
            decoder_dims=16,
            num_heads=2,
        ),
        target=dict(type=f'bimm_mm.{target}'),
    )


def _branch(*areas: dict, video: bool, drop_path_rate: float = 0.2) -> dict:
    backbone = dict(
        type='bimm_mm.BIMMVisionTransformer',
        arch=ARCH,
        img_size=32,
        patch_size=8,
        drop_path_rate=drop_path_rate,
    )
    if video:
        backbone.update(num_frames=4, tubelet_size=2)
    kind = 'Tube' if video else 'Random'
    return dict(
        backbone=backbone,
        masking=dict(type=f'bimm_mm.{kind}Masking', ratio=0.5),
        areas=list(areas),
    )


class Clips(Dataset):
    """Random clips; those of class 1 are brighter."""

    def __init__(self, count: int, *, labelled: bool = True) -> None:
        rng = torch.Generator().manual_seed(0)
        self.clips = [
            torch.randint(
                100 * (i % 2),
                100 * (i % 2) + 100,
                (1, 3, 4, 32, 32),
                generator=rng,
                dtype=torch.uint8,
            )
            for i in range(count)
        ]
        self.labelled = labelled

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict:
        meta = dict(path=f'clip_{index}.mp4', index=index)
        sample = BaseDataElement(metainfo=meta)
        return dict(inputs=self.clips[index], data_samples=sample)

    def get_data_info(self, index: int) -> dict:
        label = dict(label=index % 2) if self.labelled else {}
        return dict(filename=f'clip_{index}.mp4', **label)


@pytest.fixture
def make_clips() -> type[Clips]:
    """See :class:`Clips`."""
    return Clips


V1, MT = _area('V1', 2, 'PixelTarget'), _area('MT', 3, 'MotionTarget')
V4 = _area('V4', 3, 'PixelTarget')


@pytest.fixture
def bimm_cfg() -> dict:
    """Arguments of a BIMM of 3 blocks, 2 of them shared."""
    return dict(
        ventral=_branch(V1, V4, video=False),
        dorsal=_branch(V1, MT, video=True),
        share_blocks=2,
        dorsal_weight=0.5,
    )


@pytest.fixture
def make_model(bimm_cfg) -> Callable[..., MaskedBranch | BIMM]:
    """Make ``'bimm'``, ``'branch'`` (two areas) or ``'single'`` (one)."""

    def make(kind: str, **options) -> MaskedBranch | BIMM:
        torch.manual_seed(0)
        extra = dict(
            data_preprocessor=dict(type='bimm_mm.ClipDataPreprocessor')
        )
        if kind == 'bimm':
            return BIMM(**{**bimm_cfg, **options, **extra})
        areas = dict(branch=[V1, MT], single=[MT])[kind]
        return MaskedBranch(**_branch(*areas, video=True), **extra)

    return make


@pytest.fixture
def clips() -> ClipBatch:
    """Three random clips."""
    rng = torch.Generator().manual_seed(1)
    pixels = torch.rand(3, 3, 4, 32, 32, generator=rng)
    return ClipBatch((pixels - 0.45) / 0.225, pixels)


_run = itertools.count()


@pytest.fixture
def train(tmp_path: Path, make_model) -> Callable[..., tuple]:
    """Train 5 steps; gives the losses, the final weights and the folder."""
    from mmengine.hooks import Hook

    class Keep(Hook):
        def __init__(self) -> None:
            self.losses: list[dict[str, float]] = []

        def after_train_iter(
            self, runner, batch_idx, data_batch=None, outputs=None
        ) -> None:
            self.losses.append({k: v.item() for k, v in outputs.items()})

    def run(
        hooks: Sequence[dict],
        *,
        model=None,
        name: str = 'run',
        optim_wrapper=None,
    ) -> tuple[list[dict[str, float]], dict[str, torch.Tensor], Path]:
        keep = Keep()
        work_dir = tmp_path / name
        loader = dict(
            dataset=Clips(6),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=default_collate,
            batch_size=2,
            num_workers=0,
        )
        runner = Runner(
            model=make_model('bimm') if model is None else model,
            work_dir=str(work_dir),
            train_dataloader=loader,
            train_cfg=dict(by_epoch=False, max_iters=5),
            optim_wrapper=optim_wrapper
            or dict(optimizer=dict(type='AdamW', lr=1e-3)),
            custom_hooks=[HOOKS.build(dict(hook)) for hook in hooks] + [keep],
            visualizer=dict(
                type='Visualizer',
                vis_backends=[dict(type='LocalVisBackend')],
                name=f'diagnosis_{next(_run)}',
            ),
            default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
            randomness=dict(seed=3),
            experiment_name=f'diagnosis_{next(_run)}',
        )
        trained = runner.train()
        return keep.losses, trained.state_dict(), work_dir

    return run
