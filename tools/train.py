#!/usr/bin/env python
"""Train any config of this project: pretraining and downstream alike."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.config import Config

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.apis.config import (
    SERVICES,
    load_config,
    set_log_to,
    set_resume,
    set_work_dir,
    use_amp,
    use_auto_scale_lr,
)
from bimm_mm.apis.launch import (
    add_cfg_options,
    add_launcher,
    check_training,
    resume_command,
    train,
)
from bimm_mm.apis.one_line import one_line_errors
from bimm_mm.engine.contour_source import use_contours
from bimm_mm.targets.contour import SOURCES
from bimm_mm.utils.processes import end_processes


def parse_args() -> argparse.Namespace:
    """OpenMMLab's flags."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('config', help='config file')
    add(
        '--work-dir',
        help='where logs and checkpoints go; default: work_dir of the config, '
        'or work_dirs/<name of the config>',
    )
    add(
        '--resume',
        nargs='?',
        const='auto',
        help='continue from this checkpoint; without a value, from the newest '
        'whole one in the work directory, or from the start if there is none',
    )
    add(
        '--amp',
        action='store_true',
        help='mixed precision: bfloat16 where the device has it, else float16',
    )
    add(
        '--compile',
        action='store_true',
        help='compile the loss of a pretraining, see docs/pretrain.md',
    )
    add(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the total batch size, relative to '
        'auto_scale_lr.base_batch_size of the config',
    )
    add(
        '--keep-batch-per-gpu',
        action='store_true',
        help='train with the batch that these processes have; default: '
        'accumulate to total_batch_size of the config',
    )
    add(
        '--contours',
        choices=SOURCES,
        help='contours from files (map), or Sobel edges, computed on the '
        'device; default: that of the run that is resumed, or of the config',
    )
    add(
        '--dry-run',
        action='store_true',
        help='build everything, validate two samples, train until the first '
        'update, print what the run is, and leave no file',
    )
    add(
        '--log-to',
        choices=SERVICES,
        help='watch the run there as well; the local log stays',
    )
    add(
        '--quiet',
        action='store_true',
        help='show warnings, errors and the end alone; the log file has all',
    )
    add_cfg_options(
        parser,
        example='train_dataloader.batch_size=2 '
        'model.dorsal.areas.0.weight=0.5',
    )
    add_launcher(parser)
    return parser.parse_args()


def read_config(args: argparse.Namespace) -> Config:
    """The config with every flag applied."""
    options = {**(args.cfg_options or {})}
    if args.contours:
        options['contours'] = args.contours
    cfg = load_config(args.config, options)
    set_work_dir(cfg, args.config, args.work_dir)
    set_resume(cfg, args.resume)
    if args.log_to:
        set_log_to(cfg, args.log_to)
    before = Path(cfg.work_dir) / Path(args.config).name
    resumed = args.resume and not args.contours and before.is_file()
    if resumed and load_config(before).get('contours') == 'sobel':
        cfg.contours = 'sobel'
        use_contours(cfg)
    if args.amp:
        use_amp(cfg)
    if args.compile and not cfg.get('compile'):
        cfg.compile = True
    if args.auto_scale_lr:
        use_auto_scale_lr(cfg)
    check_training(
        cfg,
        launcher=args.launcher,
        keep_batch_per_gpu=args.keep_batch_per_gpu,
    )
    return cfg


def main() -> None:
    """Run, or say in one line what is wrong with the config."""
    args = parse_args()
    with one_line_errors(args):
        args.cfg = read_config(args)
        train(
            args.cfg,
            launcher=args.launcher,
            resume_command=resume_command(args.launcher),
            dry=args.dry_run,
            quiet=args.quiet,
        )
        end_processes()


if __name__ == '__main__':
    main()
