"""A table of the paper at toy size: its own configs, shrunk, on small data.

    python tests/leaderboard/toy.py 7f toy --data FOLDER
    python tools/run_table.py 7f --tables toy/tables.yml --work-dirs toy/work
    python tools/leaderboard.py toy/work --tables toy/tables.yml --out toy/page

FOLDER holds ``action_mini`` and ``image_mini``, see ``BIMM_TEST_DATA``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config

from bimm_mm.leaderboard import OURS, PAPER, Row, read_tables

SIDE, FULL = 64, 224
WIDTH, HEADS, DEPTH = 48, 4, 12
CLASSES = 6


def make_table(
    name: str,
    folder: Path,
    data: Path,
    *,
    rows: list[str] | None = None,
    epochs: tuple[int, int] = (1, 1),
    clips: int | None = None,
    photos: int = 8,
) -> Path:
    """Write shrunk configs and a file of tables that names them.

    Args:
        name (str): Table of the paper or of ours, judged on UCF101.
        folder (Path): Where to write.
        data (Path): Folder of small real data sets.
        rows (list[str], optional): What the first column says of the rows.
            Defaults to None: all.
        epochs (tuple[int, int]): Of pretraining and of finetuning.
        clips (int, optional): How many videos to train and to test on.
            Defaults to None: all.
        photos (int): How many photographs for stage 1. Defaults to 8.

    Returns:
        Path: The file of tables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shrinker = _Shrinker(folder.resolve(), data.resolve(), epochs)
    sizes = shrinker.write_lists(clips, photos)
    files = (read_tables(path) for path in (PAPER, OURS))
    (table,) = [t for file in files for t in file.tables if t.name == name]
    chosen = [
        row
        for row in table.rows
        if rows is None or row.texts['method'] in rows
    ]
    content = {
        'title': 'The pipeline on 120 clips of 6 actions',
        'toy': True,
        'benchmarks': {'UCF101': sizes},
        'pretrainings': {
            row.name: [shrinker.write(path) for path in row.pretrain]
            for row in chosen
        },
        'finetunings': {
            row.name: _finetuning(row, shrinker) for row in chosen
        },
        'tables': [
            {
                'name': name,
                'title': table.title,
                'columns': dict(table.columns),
                'metrics': [vars(metric) for metric in table.metrics],
                'rows': [_row(row) for row in chosen],
            }
        ],
    }
    path = folder / 'tables.yml'
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def _row(row: Row) -> dict[str, Any]:
    finetune = {'UCF101': row.name}
    return {**row.texts, 'pretrain': row.name, 'finetune': finetune}


def _finetuning(row: Row, shrinker: _Shrinker) -> dict[str, Any]:
    finetuning = row.finetune['UCF101']
    config = shrinker.write(finetuning.config)
    return {'config': config, 'options': dict(finetuning.options)}


class _Shrinker:
    """Turns full-size configs into toys that train on a CPU."""

    def __init__(
        self, folder: Path, data: Path, epochs: tuple[int, int]
    ) -> None:
        self.folder, self.epochs = folder, epochs
        self.videos = data / 'action_mini' / 'ut_interaction'
        self.images = data / 'image_mini' / 'in1k_samples' / 'images'

    def write_lists(self, clips: int | None, photos: int) -> dict[str, int]:
        """Lists of as many clips, of all classes alike."""
        sizes = {}
        for split in ('train', 'val'):
            lines = (self.videos / f'{split}.txt').read_text().splitlines()
            lines.sort(key=lambda line: line.split()[1])
            step = max(1, len(lines) // (clips or len(lines)))
            some = lines[::step][:clips]
            (self.folder / f'{split}.txt').write_text('\n'.join(some) + '\n')
            sizes['test' if split == 'val' else split] = len(some)
        here = self.folder / 'photos'
        here.mkdir(exist_ok=True)
        for image in sorted(self.images.iterdir())[:photos]:
            if not (here / image.name).exists():
                (here / image.name).symlink_to(image)
        return sizes

    def write(self, path: Path) -> str:
        """Write the toy of a config beside the file of tables; its name."""
        cfg = Config.fromfile(path)
        for node in _dicts(cfg._cfg_dict):
            self._shrink(node)
        self._shorten(cfg, finetuning='cls_head' in cfg.model)
        name = f'{path.stem}.py'
        cfg.dump(self.folder / name)
        return name

    def _shrink(self, node: dict) -> None:
        for key, value in node.items():
            node[key] = _smaller(value)
        if 'arch' in node:
            node['arch'] = dict(embed_dims=WIDTH, depth=DEPTH, num_heads=HEADS)
        elif 'num_heads' in node and 'embed_dims' not in node:
            small = dict(width=WIDTH, num_heads=HEADS, depth=1)
            node.update({k: v for k, v in small.items() if k in node})
        small = dict(
            num_workers=0, persistent_workers=False, num_classes=CLASSES
        )
        node.update({k: v for k, v in small.items() if k in node})
        self._show_small_data(node)

    def _show_small_data(self, node: dict) -> None:
        kind = node.get('type')
        if kind == 'VideoDataset':
            split = 'val' if node.get('test_mode') else 'train'
            node.update(ann_file=str(self.folder / f'{split}.txt'))
            node.update(data_prefix=dict(video=str(self.videos / 'videos_sq')))
        elif kind == 'ImageNet':
            node.pop('split')
            node.update(type='CustomDataset', with_label=False)
            node.update(data_root=str(self.folder / 'photos'))
        elif 'contour_root' in node:
            node['contour_root'] = None
        elif kind == 'bimm_mm.ContourTarget':
            node['source'] = 'sobel'
        elif 'in_channels' in node and kind == 'TimeSformerHead':
            node['in_channels'] = WIDTH

    def _shorten(self, cfg: Config, *, finetuning: bool) -> None:
        cfg.train_dataloader.batch_size = 4
        cfg.train_cfg.max_epochs = self.epochs[finetuning]
        warm_up, cosine = cfg.param_scheduler
        warm_up.end = cosine.begin = 1
        cfg.optim_wrapper.type = 'OptimWrapper'
        cfg.optim_wrapper.pop('dtype')
        cfg.auto_scale_lr.enable = False
        if self.epochs[finetuning] == 1:
            cfg.param_scheduler = None
        cfg.default_hooks.logger.interval = 1
        if finetuning:
            cfg.test_dataloader.dataset.pipeline[0].transforms[1].num_clips = 1
            cfg.default_hooks.checkpoint.save_best = None


def _smaller(value: Any) -> Any:
    """224 pixels, wherever they stand, become 64."""
    if isinstance(value, (list, tuple)):
        return type(value)(
            _smaller(item) if isinstance(item, (int, list, tuple)) else item
            for item in value
        )
    whole = isinstance(value, int) and not isinstance(value, bool)
    return SIDE if whole and value == FULL else value


def _dicts(node: object) -> Iterator[dict]:
    if isinstance(node, dict):
        yield node
    if isinstance(node, (dict, list, tuple)):
        inner = list(node.values()) if isinstance(node, dict) else node
        for item in inner:
            yield from _dicts(item)


def main() -> None:
    """Write a table at toy size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('table')
    parser.add_argument('folder', type=Path)
    parser.add_argument(
        '--data',
        type=Path,
        default=os.environ.get('BIMM_TEST_DATA'),
        help='folder of small data sets; default: BIMM_TEST_DATA',
    )
    parser.add_argument('--epochs', nargs=2, type=int, default=(2, 4))
    args = parser.parse_args()
    if args.data is None:
        parser.error('give --data, or set BIMM_TEST_DATA')
    print(make_table(args.table, args.folder, args.data, epochs=args.epochs))


if __name__ == '__main__':
    main()
