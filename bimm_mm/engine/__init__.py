"""Hooks, metrics and what else the runner needs."""

from bimm_mm.engine.hooks.bad_videos import BadVideoHook
from bimm_mm.engine.hooks.before_start import (
    BeforeStartHook,
    DryRunHook,
    FirstValHook,
)
from bimm_mm.engine.hooks.checkpoint import CheckpointHook
from bimm_mm.engine.hooks.console import LiveDisplayHook
from bimm_mm.engine.hooks.diagnosis import DiagnosisHook
from bimm_mm.engine.hooks.finite_loss import FiniteLossHook
from bimm_mm.engine.hooks.full_precision import FullPrecisionHook
from bimm_mm.engine.hooks.label_check import LabelCheckHook
from bimm_mm.engine.hooks.step_seed import StepSeedHook
from bimm_mm.engine.metrics import AreaLoss
from bimm_mm.engine.optim import CPUAmpOptimWrapper, LayerDecay
from bimm_mm.engine.resume import newest_checkpoint
from bimm_mm.engine.runner import StrictRunner

__all__ = [
    'AreaLoss',
    'BadVideoHook',
    'BeforeStartHook',
    'CPUAmpOptimWrapper',
    'CheckpointHook',
    'DiagnosisHook',
    'DryRunHook',
    'FiniteLossHook',
    'FirstValHook',
    'FullPrecisionHook',
    'LabelCheckHook',
    'LayerDecay',
    'LiveDisplayHook',
    'StepSeedHook',
    'StrictRunner',
    'newest_checkpoint',
]
