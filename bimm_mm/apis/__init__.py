"""What scripts and notebooks call."""

from .config import (
    check_checkpoint,
    check_device,
    describe_batch,
    load_config,
    set_resume,
    set_work_dir,
    use_amp,
    use_auto_scale_lr,
)
from .curves import AreaProgress, read_progress, read_scalars, save_curves
from .files import atomic, write_json, write_text
from .launch import add_shared_arguments, build_runner
from .pictures import save_pictures
from .reconstruct import init_model, load_batch, reconstruct

__all__ = [
    'AreaProgress',
    'add_shared_arguments',
    'atomic',
    'build_runner',
    'check_checkpoint',
    'check_device',
    'describe_batch',
    'init_model',
    'load_batch',
    'load_config',
    'read_progress',
    'read_scalars',
    'reconstruct',
    'save_curves',
    'save_pictures',
    'set_resume',
    'set_work_dir',
    'use_amp',
    'use_auto_scale_lr',
    'write_json',
    'write_text',
]
