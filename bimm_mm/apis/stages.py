"""Configs of own videos, from ``configs/own``, and their training."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from shutil import copyfile, copytree
from tempfile import TemporaryDirectory
from typing import Any

import torch
from joblib import cpu_count
from mmengine.config import Config

from bimm_mm.apis.config import (
    find_configs,
    load_config,
    override,
    set_log_to,
    set_resume,
    use_amp,
)
from bimm_mm.apis.folders import (
    check_classes,
    is_same_run,
    read_data,
    read_run,
)
from bimm_mm.apis.launch import check_training, train
from bimm_mm.apis.one_line import explain
from bimm_mm.engine.config_check import known_names
from bimm_mm.engine.runner import StrictRunner
from bimm_mm.models.backbones.vit import ARCHS
from bimm_mm.utils.choices import check_choice, multiple
from bimm_mm.utils.device import find_device
from bimm_mm.utils.files import check_folder, locked, write_json
from bimm_mm.utils.progress import say
from bimm_mm.version import __version__

# Config of the last stage by method, in configs/own.
METHODS = {
    'bimm': 'pretrain_joint',
    'motionmae': 'pretrain_motionmae',
    'videomae': 'pretrain_videomae',
}
SIZES = ('tiny', 'small', 'base', 'large')
# Of a pretrained encoder, what a finetuned one must have as well.
_ENCODER = (
    *('arch', 'patch_size', 'tubelet_size'),
    *('with_cls_token', 'out_type', 'key_bias'),
)


# Keys of a config that follow from a flag, as do other keys.
_FLAGS = {
    'compile': 'compile',
    'contours': 'contours',
    'randomness.seed': 'seed',
    'train_cfg.max_epochs': 'epochs',
    'train_dataloader.batch_size': 'batch-size',
}


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options that say what a flag says, which would be ignored."""
    for key, flag in _FLAGS.items():
        if key in options:
            raise ValueError(f'{key}: say it with --{flag} instead')


def finetuning(
    run: str | Path,
    data: str | Path,
    *,
    out: str | Path,
    epochs: int,
    batch_size: int,
    device: str,
    seed: int,
    fold: int | None = None,
    options: Mapping[str, Any],
) -> tuple[Config, dict[str, Any]]:
    """Config of a finetuning; see :func:`bimm_mm.apis.own.finetune`."""
    check_options(options)
    before, encoder = read_run(run)
    videos = read_data(data, fold=fold)
    check_classes(videos)
    frames = encoder.get('num_frames', 1)
    names = dict(
        **videos.names(),
        image_size=encoder.img_size,
        frames=frames,
        epochs=dict(pretrain=1, finetune=multiple('epochs', epochs)),
        batch_size=multiple('batch_size', batch_size),
    )
    cfg = read_config('finetune', names, 'base', {'randomness.seed': seed})
    kept = {key: encoder[key] for key in _ENCODER if key in encoder}
    if frames == 1:  # of images, each of which is a clip of one frame
        kept['tubelet_size'] = 1
    cfg.model.backbone.update(kept)
    cfg.model.backbone.init_cfg.checkpoint = before['checkpoint']
    arch = encoder.arch
    cfg.model.cls_head.in_channels = (
        ARCHS[arch].embed_dims if isinstance(arch, str) else arch.embed_dims
    )
    if 'val' not in videos.lists:
        print('DATA has no val.txt: nothing is measured')
        for part in ('val', 'test'):
            for kind in ('cfg', 'dataloader', 'evaluator'):
                cfg[f'{part}_{kind}'] = None
        cfg.default_hooks.checkpoint.pop('save_best')
    override(cfg, options)
    record = dict(
        verb='finetune',
        **{key: before[key] for key in ('method', 'size')},
        data=str(videos.folder),
        fold=fold,
        run=str(Path(run).expanduser().absolute()),
        classes=videos.classes,
        stage1=None,
    )
    return adapt_config(cfg, out, device), record


def contour_files(method: str, contours: str | None) -> str | None:
    """The folder of contour files, if there is one."""
    needed = method == 'bimm'
    if needed and not contours:
        raise ValueError(
            "BIMM's area V2 predicts contours: give contours='sobel' "
            '(--contours sobel), edges computed on the device, a deviation '
            'from the paper, or the folder that tools/extract_contours.py '
            'wrote'
        )
    if contours and not needed:
        raise ValueError(
            f'contours={contours!r}: {method} predicts none; leave it out'
        )
    return None if contours == 'sobel' else contours


def read_config(
    name: str,
    names: Mapping[str, Any],
    size: str,
    options: Mapping[str, Any],
) -> Config:
    """Read a config of ``configs/own`` with other names in its ``data.py``."""
    configs = find_configs()
    parts = ('train', 'val', 'test') if name == 'finetune' else ('train',)
    workers = {
        f'{part}_dataloader.num_workers': min(4, cpu_count()) for part in parts
    }
    with TemporaryDirectory() as folder:
        own = Path(folder, 'own')
        path = own / f'{name}.py'
        given = [f'{key} = {value!r}\n' for key, value in names.items()]
        try:
            for part in ('_base_', 'own'):
                copytree(
                    configs / part, Path(folder, part), copy_function=copyfile
                )
            with open(own / 'data.py', 'a', encoding='utf-8') as file:
                file.writelines(given)
            text = path.read_text('utf-8')
            path.write_text(
                re.sub(
                    r'(models/\w+mae|models/bimm)_base', rf'\1_{size}', text
                ),
                'utf-8',
            )
        except OSError as error:
            raise OSError(
                f'{folder} cannot be written: free space there, or set TMPDIR '
                'to another folder'
            ) from error
        return load_config(path, {**workers, **options})


def adapt_config(full: Config, out: str | Path, device: str) -> Config:
    """What a runner reads of a config, to run on a device in a folder."""
    folder = Path(out).expanduser().absolute()
    if 'work_dir' in full:
        raise ValueError(
            f'work_dir={full.work_dir!r}: out (--out) is where the run '
            'writes; leave work_dir out'
        )
    known = {*known_names(), 'custom_imports', 'runner_type'}
    cfg = Config(
        {key: full[key] for key in full if key in known},
        cfg_text='#',
        filename=str(folder / 'config.py'),
    )
    cfg.work_dir = str(folder)
    check_choice('device', device, ('auto', 'cpu', 'cuda'))
    there = torch.cuda.is_available()
    if find_device(device).type == 'cpu' and there:
        raise ValueError(
            "device='cpu': there is a GPU, which PyTorch takes: put "
            'CUDA_VISIBLE_DEVICES= before the command'
        )
    if not there:
        use_amp(cfg)
    return cfg


def train_stages(
    configs: Sequence[Config],
    record: dict[str, Any],
    *,
    log_to: str | None = None,
    dry_run: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Check all stages, then train those that are not finished."""
    out = Path(configs[-1].work_dir)
    launcher = 'pytorch' if 'WORLD_SIZE' in os.environ else 'none'
    record |= dict(config='config.py', version=__version__, checkpoint=None)
    resumed = is_same_run(out, record)
    check_folder(out)
    for cfg in configs:
        if log_to:
            set_log_to(cfg, log_to)
        check_training(cfg, launcher=launcher)
    if torch.cuda.device_count() > 1 and launcher == 'none':
        say(
            f'one of {torch.cuda.device_count()} GPUs is used; all: torchrun '
            '--nproc-per-node gpu --no-python and the command'
        )
    writes = _is_first() and not dry_run
    with locked(out) if writes else nullcontext():
        if writes:
            write_json(record, out / 'run.json')
        for number, cfg in enumerate(configs, 1):
            several = len(configs) > 1
            title = f'stage {number} of {len(configs)}, ' * several
            set_resume(cfg, 'auto' if resumed and not dry_run else None)
            last = _train_stage(cfg, title, launcher, dry=dry_run, quiet=quiet)
            record['checkpoint'] = None if dry_run else str(last)
        if writes:
            write_json(record, out / 'run.json')
    return record


def _is_first() -> bool:
    """Whether this process speaks and writes for all."""
    return int(os.environ.get('RANK', 0)) == 0


def _train_stage(
    cfg: Config, title: str, launcher: str, *, dry: bool, quiet: bool
) -> Path:
    """Train a stage, unless it is finished; the checkpoint of its end."""
    last = Path(cfg.work_dir, f'epoch_{cfg.train_cfg.max_epochs}.pth')
    finished = last.is_file() and not dry
    if _is_first():
        told = f'finished before: {last}' if finished else f'in {cfg.work_dir}'
        say(f'{title}{told}')
    if finished:
        return last
    StrictRunner.began = False
    try:
        train(
            cfg,
            launcher=launcher,
            resume_command='the same command',
            dry=dry,
            quiet=quiet,
        )
    except (AssertionError, LookupError, RuntimeError, TypeError) as error:
        if StrictRunner.began:
            raise
        raise ValueError(explain(error, cfg)) from error
    return last
