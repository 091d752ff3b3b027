"""The total batch of a config is kept on any number of processes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mmengine.config import Config

from bimm_mm.apis.config import keep_total_batch
from tests.engine.one_layout import train, train_on_two
from tests.processes import Started


def test_layouts_of_a_total_batch_train_the_same(tmp_path, one_thread):
    """8 samples an update: one process, two (gloo), and accumulated ones."""
    out = tmp_path / 'two.pth'
    two = Started(train_on_two, out, log=tmp_path / 'said.txt', ranks=2)
    assert two.wait() == [0, 0]
    said = 'total batch size 8 = 2 process(es) x 2 per process x 2 accumulated'
    assert said in two.said
    runs = torch.load(out, weights_only=True)
    for batch, accumulated in ((8, 1), (2, 4)):
        for by_iter in (False, True):
            runs.append(train(tmp_path, batch, accumulated, by_iter))
    by_epoch, by_iteration = runs[::2], runs[1::2]
    for whole, *others in (by_epoch, by_iteration):
        assert len(whole['steps']) == 15
        # auto_scale_lr: twice the base.
        rates = [rate for _, rate in whole['steps']]
        assert max(rates) == pytest.approx(0.2)
        for other in others:
            torch.testing.assert_close(
                torch.tensor(other['steps']), torch.tensor(whole['steps'])
            )
            torch.testing.assert_close(other['weights'], whole['weights'])


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
