"""Hooks, metrics and what else the runner needs."""

from .bad_videos import BadVideoHook
from .cpu_amp import CPUAmpOptimWrapper
from .diagnosis import DiagnosisHook
from .finite_loss import FiniteLossHook
from .first_val import FirstValHook
from .full_precision import FullPrecisionHook
from .label_check import LabelCheckHook
from .layer_decay import LayerDecay
from .metrics import AreaLoss
from .step_seed import StepSeedHook

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
