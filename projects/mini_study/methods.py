"""The methods that are compared: released configs of pretraining."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from mmengine.config import Config

from bimm_mm.apis import load_config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
FINETUNING = CONFIGS / 'downstream/ucf101/finetune_ucf101.py'

# Config below configs/ by method; None: not pretrained.
METHODS: dict[str, str | None] = {
    'scratch': None,
    'videomae': 'ablations/ablation_videomae.py',  # Table 7b, Baseline
    'motionmae': 'baselines/pretrain_motionmae_ucf101.py',  # Table 10
    'bimm_dorsal': 'ablations/ablation_dorsal.py',  # Table 7b
    'bimm_unshared': 'ablations/ablation_sharing_none.py',  # Table 7e
    'bimm': 'ablations/ablation_default.py',  # Table 7, default
}
# Its pretraining takes the time that all others get in the budget 'time'.
REFERENCE = 'videomae'
# Ablations which the study's own clips, contours and steps make equal to
# another method, or which need files or frames that it does not have.
_NOT_HERE = ('contour_', 'init_ucf101', 'motion_decoded', 'ventral_')
# All other ablations, run when asked for.
OPTIONAL: dict[str, str] = {
    path.stem.removeprefix('ablation_'): f'ablations/{path.name}'
    for path in sorted((CONFIGS / 'ablations').glob('ablation_*.py'))
    if f'ablations/{path.name}' not in METHODS.values()
    and not path.stem.removeprefix('ablation_').startswith(_NOT_HERE)
}


def config_path(name: str) -> Path | None:
    """The released config of a method or a ventral stage.

    Args:
        name: Of ``METHODS`` or ``OPTIONAL``, or what :func:`ventral_of` gives.

    Returns:
        Its path; None for a method without pretraining.
    """
    known = {**METHODS, **OPTIONAL}
    if name not in known:
        return next(CONFIGS.glob(f'*/{name}.py'))
    config = known[name]
    return None if config is None else CONFIGS / config


def released(name: str) -> Config:
    """Read the config of a method or a ventral stage, to be changed.

    Raises:
        ValueError: If the method is not pretrained.
    """
    path = config_path(name)
    if path is None:
        raise ValueError(f'{name} is not pretrained: it has no config')
    return load_config(path)


@cache
def ventral_of(name: str) -> str | None:
    """The ventral stage that a method's pretraining starts from.

    Args:
        name: Of ``METHODS`` or ``OPTIONAL``.

    Returns:
        File name, without ``.py``, of the stage's released config; None if
        the method has no ventral branch, or starts without one.
    """
    if config_path(name) is None:
        return None
    checkpoint = released(name).model.get('ventral_checkpoint')
    # work_dirs/<file name of the config>/epoch_<n>.pth
    return None if checkpoint is None else Path(checkpoint).parent.name
