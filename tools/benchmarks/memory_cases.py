"""What the memory benchmark counts: one case a row of its table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'downstream'
COCO = 'coco/finetune_coco.py'
GLOBAL = dict(window_size=0, global_blocks=[])
RECOMPUTE = dict(with_cp=True)
KEEP = dict(with_cp=False)


@dataclass(frozen=True)
class Case:
    """One way to train.

    Args:
        name (str): For the table.
        config (str): Path below ``configs/downstream``.
        batch (tuple[int, ...]): Inputs per step; empty for half and
            all of the config's own. Defaults to ().
        options (dict): Changes of the backbone. Defaults to none.
        encoder_only (bool): Leave out everything behind the backbone.
            Defaults to False.
        fused (bool): Attention that does not store its scores. Defaults to
            True.
    """

    name: str
    config: str
    batch: tuple[int, ...] = ()
    options: dict = field(default_factory=dict)
    encoder_only: bool = False
    fused: bool = True

    def read(self) -> Config:
        """The config, with the changes."""
        cfg = Config.fromfile(CONFIGS / self.config)
        cfg.model.backbone.update(self.options)
        return cfg


def _encoder(name: str, *, fused: bool = True, **options: object) -> Case:
    """COCO's encoder, which is where windows and checkpoints act."""
    name = f'COCO, encoder alone, {name}'
    return Case(name, COCO, (1, 4), options, True, fused)


CASES = (
    Case('K400, ViT-B', 'k400/finetune_k400.py'),
    Case('K400, ViT-B, with_cp', 'k400/finetune_k400.py', (), RECOMPUTE),
    Case('K400, ViT-L', 'k400/finetune_large_k400.py', (), KEEP),
    Case('K400, ViT-L, with_cp', 'k400/finetune_large_k400.py', (), RECOMPUTE),
    Case('UCF101, ViT-B', 'ucf101/finetune_ucf101.py'),
    Case('UCF101, ViT-B, with_cp', 'ucf101/finetune_ucf101.py', (), RECOMPUTE),
    Case('UCF101, ViT-L', 'ucf101/finetune_large_ucf101.py', (), KEEP),
    Case(
        'UCF101, ViT-L, with_cp',
        'ucf101/finetune_large_ucf101.py',
        (),
        RECOMPUTE,
    ),
    Case('AVA, ViT-B', 'ava/finetune_ava.py'),
    Case('AVA, ViT-L', 'ava/finetune_large_ava.py'),
    Case('AVA, ViT-L, with_cp', 'ava/finetune_large_ava.py', (), RECOMPUTE),
    Case('IN-1K, ViT-B', 'imagenet/finetune_bimm_in1k.py'),
    Case('ADE20K, UperNet', 'ade20k/finetune_ade20k.py', (2, 8)),
    Case('COCO, Mask R-CNN', COCO, (2, 4, 8)),
    Case('COCO, Mask R-CNN, with_cp', COCO, (2, 4, 8), RECOMPUTE),
    _encoder('windows'),
    _encoder('windows, with_cp', **RECOMPUTE),
    _encoder('global', **GLOBAL),
    _encoder('global, with_cp', **GLOBAL, **RECOMPUTE),
    _encoder('windows, scores stored', fused=False),
    _encoder('windows, scores stored, with_cp', fused=False, **RECOMPUTE),
    _encoder('global, scores stored', fused=False, **GLOBAL),
    _encoder(
        'global, scores stored, with_cp', fused=False, **GLOBAL, **RECOMPUTE
    ),
)
