"""The methods that are compared: a released config each, made small."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mmengine.config import Config

from bimm_mm.apis import load_config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'
FINETUNING = 'downstream/ucf101/finetune_ucf101.py'

# Ventral stages, configs below configs/, by the folder that released configs
# of the joint stage take them from. In the study all of them learn from
# single frames of the study's own clips: there is no IN-1K. What they have
# learnt from elsewhere differs only in data, which are replaced.
VENTRAL = {
    'ventral': 'bimm/pretrain_ventral_ucf101.py',
    'ventral_separation_12': 'ablations/ablation_ventral_separation_12.py',
    'ventral_separation_4_8_12': (
        'ablations/ablation_ventral_separation_4_8_12.py'
    ),
    'ventral_separation_6_9_12': (
        'ablations/ablation_ventral_separation_6_9_12.py'
    ),
}
_FOLDERS = {
    **{Path(config).stem: stage for stage, config in VENTRAL.items()},
    'pretrain_ventral_in1k': 'ventral',
}


@dataclass(frozen=True)
class Method:
    """One row of the comparison.

    Args:
        name (str): As on the command line.
        title (str): For people.
        config (str, optional): The released config of pretraining, below
            ``configs/``; None for no pretraining.
        row (str): The row of the paper's tables, or whose idea it is.
        optional (bool): Whether it is run only when asked for.
    """

    name: str
    title: str
    config: str | None
    row: str
    optional: bool

    @property
    def path(self) -> Path:
        """The released config.

        Raises:
            ValueError: If the method has none.
        """
        if self.config is None:
            raise ValueError(f'{self.name} is not pretrained: no config')
        return CONFIGS / self.config


def _methods(optional: bool, *rows: tuple[str, str, str | None, str]) -> dict:
    return {row[0]: Method(*row, optional) for row in rows}


def _ablations(*rows: tuple[str, str, str]) -> dict[str, Method]:
    return _methods(
        True,
        *(
            (name, title, f'ablations/ablation_{name}.py', row)
            for name, title, row in rows
        ),
    )


# Left out of configs/ablations, although they are rows of a table or ours:
# - init_ucf101 (Table 7a): here the ventral stage learns from video frames in
#   every row, so that this is `bimm`.
# - contour_sobel: here contours are Sobel's in every row, this is `bimm`.
# - contour_structured: its contours are files beforehand and weights.
# - motion_decoded: frames on the device come without the frames that follow.
# - schedule_k400_1600, schedule_ucf101_3200 (Figure 3): another number of
#   steps, which the driver sets.
METHODS: dict[str, Method] = {
    **_methods(
        False,
        ('scratch', 'From scratch', None, 'no pretraining'),
        (
            'videomae',
            'VideoMAE',
            'ablations/ablation_videomae.py',
            'Table 7b, Baseline',
        ),
        (
            'motionmae',
            'MotionMAE',
            'baselines/pretrain_motionmae_ucf101.py',
            'Table 10, MotionMAE',
        ),
        (
            'bimm_dorsal',
            'BIMM-Dorsal',
            'ablations/ablation_dorsal.py',
            'Table 7b, BIMM-Dorsal',
        ),
        (
            'bimm_unshared',
            'BIMM without sharing',
            'ablations/ablation_sharing_none.py',
            'Table 7e, No sharing',
        ),
        (
            'bimm',
            'BIMM',
            'ablations/ablation_default.py',
            'Table 7, default',
        ),
    ),
    **_ablations(
        ('init_none', 'BIMM without ventral stage', 'Table 7a, No Init'),
        ('targets_v1', 'BIMM, V1 only', 'Table 7c, V1'),
        ('targets_v1_v2', 'BIMM, V1 and V2', 'Table 7c, V1-V2'),
        ('separation_12', 'BIMM, one block of 12', 'Table 7d, 12'),
        ('separation_4_8_12', 'BIMM cut at 4, 8, 12', 'Table 7d, 4-8-12'),
        ('separation_6_9_12', 'BIMM cut at 6, 9, 12', 'Table 7d, 6-9-12'),
        ('sharing_all', 'BIMM, all blocks shared', 'Table 7e, All Sharing'),
        ('mask_50', 'BIMM, half hidden', 'Table 7f, 0.5'),
        ('mask_75', 'BIMM, 75 % hidden', 'Table 7f, 0.75'),
        ('mask_95', 'BIMM, 95 % hidden', 'Table 7f, 0.95'),
        ('v1_transformer', "BIMM, V1 with V2's decoder", 'ours'),
        ('v1_visible', 'BIMM, V1 of visible patches', 'ours'),
        ('pixels_mae', "BIMM, V4's pixels as MAE", 'ours'),
        ('pixels_none', "BIMM, V4's pixels as they are", 'ours'),
        ('no_cls_token', 'BIMM without class token', 'ours'),
    ),
}


def find_method(name: str) -> Method:
    """A method by its name.

    Raises:
        ValueError: If there is no such method.
    """
    if name not in METHODS:
        raise ValueError(
            f'there is no method {name!r}: choose from {", ".join(METHODS)}'
        )
    return METHODS[name]


def released(name: str) -> Config:
    """The released pretraining config of a method or a ventral stage.

    Args:
        name (str): Of ``METHODS`` or of ``VENTRAL``.

    Returns:
        Config: As it is, free to be changed.

    Raises:
        ValueError: If there is neither, or the method is not pretrained.
    """
    if name in VENTRAL:
        return load_config(CONFIGS / VENTRAL[name])
    return load_config(find_method(name).path)


@cache
def ventral_of(name: str) -> str | None:
    """The ventral stage that a method continues from.

    Args:
        name (str): Of ``METHODS``.

    Returns:
        str | None: A name of ``VENTRAL``; None if the method has no ventral
        branch, or starts without one.

    Raises:
        ValueError: If there is no such method, or its config names an
            unknown stage.
    """
    if find_method(name).config is None:
        return None
    checkpoint = released(name).model.get('ventral_checkpoint')
    if checkpoint is None:
        return None
    folder = Path(checkpoint).parent.name
    if folder not in _FOLDERS:
        raise ValueError(
            f'{METHODS[name].config} continues from {checkpoint}, which is '
            f'none of the ventral stages {", ".join(sorted(_FOLDERS))}: add '
            'it to VENTRAL'
        )
    return _FOLDERS[folder]
