"""What scripts and notebooks call; a module is imported when it is needed."""

from importlib import import_module
from typing import Any

_MODULES = {
    'config': (
        'check_checkpoint',
        'check_device',
        'check_load_from',
        'describe_batch',
        'load_config',
        'set_resume',
        'set_work_dir',
        'starts_from_scratch',
        'use_amp',
        'use_auto_scale_lr',
    ),
    'curves': ('read_progress', 'read_scalars', 'save_curves'),
    'data_files': ('check_data_files',),
    'feature_file': (
        'Features',
        'check_same_kind',
        'read_features',
        'write_features',
    ),
    'features': ('extract_features',),
    'flops': ('Complexity', 'count_config', 'multiply_adds'),
    'launch': (
        'add_cfg_options',
        'add_launcher',
        'build_runner',
        'write_provenance',
    ),
    'pictures': ('save_pictures',),
    'probe': (
        'find_folds',
        'probe_features',
        'select_listed',
        'summary',
    ),
    'inference': ('init_model', 'load_batch', 'reconstruct'),
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f'bimm_mm.apis has no {name!r}')
    return getattr(import_module(f'bimm_mm.apis.{_WHERE[name]}'), name)


def __dir__() -> list[str]:
    return sorted(_WHERE)
