"""What a notebook calls; a module is imported when it is needed."""

from importlib import import_module
from typing import Any

_MODULES = {
    'clips': ('load_clips',),
    'config': ('load_config',),
    'convert': ('convert_checkpoint',),
    'curves': ('read_progress', 'read_scalars', 'save_curves'),
    'feature_file': (
        'Features',
        'check_same_kind',
        'read_features',
        'write_features',
    ),
    'features': ('extract_features',),
    'flops': ('count_config', 'multiply_adds'),
    'pictures': ('save_pictures',),
    'probe': ('find_folds', 'probe_features', 'select_listed', 'summary'),
    'inference': ('init_model', 'load_batch', 'reconstruct'),
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f'bimm_mm.apis has no {name!r}')
    return getattr(import_module(f'bimm_mm.apis.{_WHERE[name]}'), name)


def __dir__() -> list[str]:
    return sorted(_WHERE)
