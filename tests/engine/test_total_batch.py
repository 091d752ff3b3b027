"""The total batch of a config is kept on any number of processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from bimm_mm.apis.config import keep_total_batch
from bimm_mm.engine import newest_checkpoint
from tests.engine import strict_run
from tests.processes import Started


def _trained(folder: Path) -> tuple[list[str], dict[str, torch.Tensor]]:
    """Rates of all steps, and the weights at the end."""
    lines = (folder / 'losses.txt').read_text().splitlines()
    weights = torch.load(newest_checkpoint(folder))['state_dict']
    return [line.split()[2] for line in lines], weights


@pytest.mark.parametrize('by_iter', [False, True])
def test_layouts_of_a_total_batch_train_the_same(tmp_path, by_iter):
    """8 samples an update: one process, two (gloo), and accumulated ones."""
    options = dict(noise=False, by_iter=by_iter, length=12)
    strict_run.run(tmp_path / 'whole', dict(options, batch=8))
    rates, weights = _trained(tmp_path / 'whole')
    assert len(rates) == (12 if by_iter else 9)
    # auto_scale_lr: four times the base.
    assert max(map(float, rates)) == pytest.approx(0.4)
    for ranks, batch, count in ((1, 2, 4), (2, 4, 1), (2, 2, 2)):
        name = f'{ranks}_{batch}_{count}'
        given = dict(options, batch=batch, accumulate=count)
        layout = Started(
            strict_run.run,
            tmp_path / name,
            given,
            log=tmp_path / f'{name}.txt',
            ranks=ranks,
        )
        assert layout.wait() == [0] * ranks, layout.said
        assert (
            f'total batch size 8 = {ranks} process(es) x {batch} per process '
            f'x {count} accumulated'
        ) in layout.said
        found = _trained(tmp_path / name)
        assert found[0] == rates
        torch.testing.assert_close(found[1], weights)


def _config(total: Any, batch: int, **wrapper: int) -> Config:
    return Config(
        dict(
            total_batch_size=total,
            train_dataloader=dict(batch_size=batch),
            optim_wrapper=wrapper,
        )
    )


@pytest.mark.parametrize(
    ('total', 'batch', 'processes', 'count'),
    [
        (256, 16, 16, None),
        (256, 16, 8, 2),
        (256, 16, 1, 16),
        (1024, 64, 2, 8),
        (None, 16, 1, None),
    ],
)
def test_fewer_processes_accumulate(total, batch, processes, count):
    cfg = _config(total, batch)
    keep_total_batch(cfg, processes)
    assert cfg.optim_wrapper.get('accumulative_counts') == count


def test_accumulation_that_makes_another_total_is_told():
    words = '_counts=3 x 2 process.* x 16 per process are not .*_size=256'
    with pytest.raises(ValueError, match=words):
        keep_total_batch(_config(256, 16, accumulative_counts=3), 2)
    for total, count in ((256, 8), (None, 3)):
        cfg = _config(total, 16, accumulative_counts=count)
        keep_total_batch(cfg, 2)
        assert cfg.optim_wrapper.accumulative_counts == count


@pytest.mark.parametrize(
    ('batch', 'processes', 'choices'),
    [
        (16, 3, 'total_batch_size=258 .* or total_batch_size=240'),
        (16, 32, 'train_dataloader.batch_size=8 or total_batch_size=512'),
        (24, 8, 'train_dataloader.batch_size=16 or total_batch_size=192'),
    ],
)
def test_what_does_not_divide_it_has_two_choices(batch, processes, choices):
    with pytest.raises(
        ValueError, match=rf'=256 is no multiple.*{choices}.*keep-batch'
    ):
        keep_total_batch(_config(256, batch), processes)


@pytest.mark.parametrize('total', [0, -16, 256.0, '256', True])
def test_a_total_batch_is_a_whole_number(total):
    with pytest.raises(ValueError, match=rf'={total!r} must be a whole'):
        keep_total_batch(_config(total, 16), 1)
