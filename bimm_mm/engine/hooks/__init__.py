"""Hooks of MMEngine's runner, one per file."""

from bimm_mm.engine.hooks.bad_videos import BadVideoHook
from bimm_mm.engine.hooks.diagnosis import DiagnosisHook
from bimm_mm.engine.hooks.finite_loss import FiniteLossHook
from bimm_mm.engine.hooks.first_val import FirstValHook
from bimm_mm.engine.hooks.full_precision import FullPrecisionHook
from bimm_mm.engine.hooks.label_check import LabelCheckHook
from bimm_mm.engine.hooks.step_seed import StepSeedHook

__all__ = [
    'BadVideoHook',
    'DiagnosisHook',
    'FiniteLossHook',
    'FirstValHook',
    'FullPrecisionHook',
    'LabelCheckHook',
    'StepSeedHook',
]
