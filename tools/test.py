#!/usr/bin/env python
"""Test a checkpoint of any config of this project."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.evaluator import DumpResults

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.apis.config import check_checkpoint, load_config, set_work_dir
from bimm_mm.apis.data_files import check_data_files
from bimm_mm.apis.launch import (
    add_cfg_options,
    add_launcher,
    build_runner,
    write_provenance,
)
from bimm_mm.apis.one_line import one_line_errors
from bimm_mm.engine.config_check import check_config
from bimm_mm.engine.contour_source import use_contours
from bimm_mm.utils.files import check_file, write_json
from bimm_mm.utils.processes import end_processes

_NEEDED = ('test_dataloader', 'test_cfg', 'test_evaluator')


def parse_args() -> argparse.Namespace:
    """OpenMMLab's flags."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('config', help='config file')
    add('checkpoint', help='checkpoint file')
    add(
        '--work-dir',
        help='where the log goes; default: work_dir of the config, or '
        'work_dirs/<name of the config>',
    )
    add(
        '--out',
        help='result file: the metrics if it ends with .json, every '
        'prediction if it ends with .pkl',
    )
    add('--amp', action='store_true', help='mixed precision')
    add_cfg_options(parser, example='test_dataloader.batch_size=2')
    add_launcher(parser)
    return parser.parse_args()


def read_config(args: argparse.Namespace) -> Config:
    """The config with every flag applied."""
    if args.out and Path(args.out).suffix not in ('.json', '.pkl'):
        raise ValueError(f'--out {args.out} must end with .json or .pkl')
    if args.out:
        check_file(args.out)
    cfg = load_config(args.config, args.cfg_options)
    check_config(cfg)
    missing = [name for name in _NEEDED if cfg.get(name) is None]
    if missing:
        raise ValueError(
            f'{args.config} has no {", ".join(missing)}: set them, for '
            'instance to those for validation'
        )
    set_work_dir(cfg, args.config, args.work_dir)
    cfg.load_from = check_checkpoint(args.checkpoint)
    use_contours(cfg, checkpoint=cfg.load_from)
    check_data_files(cfg, ['test'])
    if args.amp:
        cfg.test_cfg.fp16 = True
    return cfg


def run(args: argparse.Namespace) -> None:
    """Test."""
    args.cfg = read_config(args)
    runner = build_runner(args.cfg, launcher=args.launcher)
    if args.out and args.out.endswith('.pkl'):
        runner.test_evaluator.metrics.append(DumpResults(args.out))
    write_provenance(runner, runner.test_dataloader.dataset)
    metrics = runner.test()
    if args.out and args.out.endswith('.json') and is_main_process():
        write_json(metrics, args.out)
    end_processes()


def main() -> None:
    """Run, or say in one line what is wrong with the config."""
    args = parse_args()
    with one_line_errors(args):
        run(args)


if __name__ == '__main__':
    main()
