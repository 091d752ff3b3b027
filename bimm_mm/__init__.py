"""Brain Inspired Masked Modeling (BIMM) as a plugin for OpenMMLab.

Importing the package loads no library and changes nothing in the process. The
names below load what they need when they are used first, and then apply the
workarounds for known bugs of the libraries, as ``import bimm_mm.compat`` does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bimm_mm.version import __version__

if TYPE_CHECKING:
    from bimm_mm.apis.classifier import Classifier
    from bimm_mm.apis.clips import load_clip
    from bimm_mm.apis.encoder import Encoder
    from bimm_mm.apis.export import export
    from bimm_mm.apis.inference import reconstruct
    from bimm_mm.apis.models import (
        get_config,
        get_model,
        list_models,
        load_encoder,
    )
    from bimm_mm.apis.own import finetune, pretrain
    from bimm_mm.apis.scan import scan
    from bimm_mm.apis.tuning import tuning

_WHERE = {
    'Classifier': 'classifier',
    'Encoder': 'encoder',
    'export': 'export',
    'finetune': 'own',
    'get_config': 'models',
    'get_model': 'models',
    'list_models': 'models',
    'load_clip': 'clips',
    'load_encoder': 'models',
    'pretrain': 'own',
    'reconstruct': 'inference',
    'scan': 'scan',
    'tuning': 'tuning',
}

__all__ = [
    'Classifier',
    'Encoder',
    '__version__',
    'export',
    'finetune',
    'get_config',
    'get_model',
    'list_models',
    'load_clip',
    'load_encoder',
    'pretrain',
    'reconstruct',
    'scan',
    'tuning',
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f'bimm_mm has no {name!r}')
    import_module('bimm_mm.compat')
    value = getattr(import_module(f'bimm_mm.apis.{_WHERE[name]}'), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
