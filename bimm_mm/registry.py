"""Child registries of MMEngine's roots.

Every type of this package is named ``bimm_mm.X`` in configs of any OpenMMLab
library, and that prefix alone imports what is needed. Import nothing but
mmengine here: an ImportError in this file is swallowed by MMEngine and comes
back as "bimm_mm.X is not in the registry".
"""

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
)
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    locations=['bimm_mm.structures', 'bimm_mm.models', 'bimm_mm.targets'],
)
DATASETS = Registry(
    'dataset', parent=MMENGINE_DATASETS, locations=['bimm_mm.datasets']
)
DATA_SAMPLERS = Registry(
    'data sampler',
    parent=MMENGINE_DATA_SAMPLERS,
    locations=['bimm_mm.datasets'],
)
TRANSFORMS = Registry(
    'transform', parent=MMENGINE_TRANSFORMS, locations=['bimm_mm.datasets']
)
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, locations=['bimm_mm.engine'])
METRICS = Registry(
    'metric', parent=MMENGINE_METRICS, locations=['bimm_mm.engine']
)
OPTIM_WRAPPERS = Registry(
    'optimizer wrapper',
    parent=MMENGINE_OPTIM_WRAPPERS,
    locations=['bimm_mm.engine'],
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    locations=['bimm_mm.engine'],
)
RUNNERS = Registry(
    'runner', parent=MMENGINE_RUNNERS, locations=['bimm_mm.engine']
)
# Contour detectors: no root of MMEngine's fits them.
DETECTORS = Registry(
    'contour detector', locations=['bimm_mm.contours.detectors']
)
