"""Hooks, metrics and what else the runner needs."""

from bimm_mm.engine.bad_videos import BadVideoHook
from bimm_mm.engine.cpu_amp import CPUAmpOptimWrapper
from bimm_mm.engine.diagnosis import DiagnosisHook
from bimm_mm.engine.finite_loss import FiniteLossHook
from bimm_mm.engine.first_val import FirstValHook
from bimm_mm.engine.full_precision import FullPrecisionHook
from bimm_mm.engine.label_check import LabelCheckHook
from bimm_mm.engine.layer_decay import LayerDecay
from bimm_mm.engine.metrics import AreaLoss
from bimm_mm.engine.step_seed import StepSeedHook

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
