"""A pretraining config trains from memory, and as if it decoded."""

from __future__ import annotations

from pathlib import Path

from bimm_mm.datasets import InMemoryVideoDataset

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
# What docs/benchmarks.md tells users to write.
LEAF = """
_base_ = '{base}'
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            _delete_=True,
            type='bimm_mm.InMemoryVideoDataset',
            side={side},
            dataset={{{{_base_.train_dataloader.dataset.dataset}}}},
        ),
    ),
)
"""
PRETRAINING = CONFIGS / 'bimm' / 'pretrain_ventral_ucf101.py'


def _leaf(folder: Path, base: Path, side: int) -> Path:
    leaf = folder / f'{base.stem}_memory.py'
    leaf.write_text(LEAF.format(base=base, side=side))
    return leaf


def test_two_iterations_and_the_same_losses(
    train, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv('BIMM_CONTOURS', 'map')
    randomness = {'seed': 0}
    leaf = _leaf(tmp_path, PRETRAINING, side=1000)
    memory = train(leaf, randomness=randomness)
    plain = train(PRETRAINING, randomness=randomness)
    dataset = memory.train_dataloader.dataset.dataset
    assert isinstance(dataset, InMemoryVideoDataset)
    assert memory.iter == plain.iter >= 2
    losses = [
        run.message_hub.get_scalar('train/loss').data[0]
        for run in (memory, plain)
    ]
    assert losses[0].tolist() == losses[1].tolist()
