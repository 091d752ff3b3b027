"""Hooks, metrics and what else the runner needs."""

from bimm_mm.engine.hooks import (
    BadVideoHook,
    DiagnosisHook,
    FiniteLossHook,
    FirstValHook,
    FullPrecisionHook,
    LabelCheckHook,
    StepSeedHook,
)
from bimm_mm.engine.metrics import AreaLoss
from bimm_mm.engine.optim import CPUAmpOptimWrapper, LayerDecay

__all__ = [
    'AreaLoss',
    'BadVideoHook',
    'CPUAmpOptimWrapper',
    'DiagnosisHook',
    'FiniteLossHook',
    'FirstValHook',
    'FullPrecisionHook',
    'LabelCheckHook',
    'LayerDecay',
    'StepSeedHook',
]
