"""Child registries of MMEngine's roots.

Every type of this package is named ``bimm_mm.X`` in configs of any OpenMMLab
library, and that prefix alone imports what is needed. Import nothing but
mmengine here: an ImportError in this file is swallowed by MMEngine and comes
back as "bimm_mm.X is not in the registry".
"""

from mmengine import registry as roots
from mmengine.registry import Registry


def _child(root: Registry, *modules: str) -> Registry:
    """A child of a root; the modules are imported when a type is asked for."""
    places = [f'bimm_mm.{module}' for module in modules]
    return Registry(root.name, parent=root, locations=places)


MODELS = _child(roots.MODELS, 'structures', 'models', 'targets')
DATASETS = _child(roots.DATASETS, 'datasets')
DATA_SAMPLERS = _child(roots.DATA_SAMPLERS, 'datasets')
TRANSFORMS = _child(roots.TRANSFORMS, 'datasets')
HOOKS = _child(roots.HOOKS, 'engine')
METRICS = _child(roots.METRICS, 'engine')
OPTIM_WRAPPERS = _child(roots.OPTIM_WRAPPERS, 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(roots.OPTIM_WRAPPER_CONSTRUCTORS, 'engine')
RUNNERS = _child(roots.RUNNERS, 'engine')
# Contour detectors: no root of MMEngine's fits them.
DETECTORS = Registry(
    'contour detector', locations=['bimm_mm.contours.detectors']
)
