"""Learning rates by layer, and mixed precision without a GPU."""

from bimm_mm.engine.optim.cpu_amp import CPUAmpOptimWrapper
from bimm_mm.engine.optim.layer_decay import LayerDecay

__all__ = ['CPUAmpOptimWrapper', 'LayerDecay']
