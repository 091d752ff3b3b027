"""Damaged and evil videos and images in training, contours and features.

    python -m benchmarks.robustness.damaged_media [--count 10]

Writes videos in seven containers and images in seven formats, damages each in
seven ways ``count`` times, adds what is no file at all, and lets every reader
at them: samples of training in worker processes, ``extract_contours.py`` and
``extract_features.py``. Every file must be read or refused by name; nothing
may crash, hang, take much memory or open an address.
"""

from __future__ import annotations

import argparse
import http.server
import resource
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from subprocess import CompletedProcess

import av
import numpy as np
from torch.utils.data import DataLoader, Dataset

import bimm_mm.compat  # noqa: F401  fixes libraries
from benchmarks.robustness import damaged
from benchmarks.robustness.common import ROOT, run_tool
from benchmarks.robustness.numbered import number
from bimm_mm.apis.feature_file import read_features
from bimm_mm.registry import TRANSFORMS
from bimm_mm.utils.reading import worker_deaths_named
from bimm_mm.utils.video import UndecodableVideoError

CONFIG = """
_base_ = '{base}'
data_root = '{folder}'
files = dict(ann_file='{listed}', data_prefix=dict({prefix}='{folder}'))
val_dataloader = dict(
    num_workers=2, batch_size=4, dataset=dict(**files, {more}))
"""
BASES = {
    'videos': ('ucf101/finetune_ucf101.py', 'video', ''),
    'images': (
        'imagenet/finetune_bimm_in1k.py',
        'img_path',
        "_delete_=True, type='CustomDataset', "
        'pipeline={{_base_.test_pipeline}}',
    ),
}


class Samples(Dataset):
    """What a pipeline of training makes of each file."""

    def __init__(self, paths: list[Path], kind: str) -> None:
        steps = [
            # The middle of a clip.
            step | ({'test_mode': True} if 'clip_len' in step else {})
            for step in damaged.DECODING[kind]
        ]
        self.paths = paths
        self.decode = TRANSFORMS.build(
            {'type': 'bimm_mm.SafeDecode', 'transforms': steps}
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[str, float]:
        """How it ended, and after how many seconds."""
        path = str(self.paths[index])
        start = time.monotonic()
        sample = {'filename': path, 'img_path': path}
        try:
            said = _judge(self.decode(sample | {'start_index': 0}))
        except UndecodableVideoError as error:
            said = 'refused' if error.path == path else 'WRONG NAME'
        except Exception as error:
            said = f'ERROR {type(error).__name__}: {error}'
        return said, time.monotonic() - start


def _judge(sample: dict) -> str:
    if 'img' in sample:
        return 'read'
    numbers = [number(frame) for frame in sample['imgs']]
    steps = set(np.diff(numbers).tolist())
    return 'read' if steps == {4} else 'read, other frames'


def train(paths: list[Path], kind: str) -> Counter:
    """Load every file in two workers."""
    loader = DataLoader(
        Samples(paths, kind), num_workers=2, collate_fn=list, timeout=300
    )
    with worker_deaths_named(None):
        ended = [sample for batch in loader for sample in batch]
    worst = max(seconds for _, seconds in ended)
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(
        f'  longest file {worst:.1f} s, a worker had {memory:.2f} GB at most'
    )
    return Counter(said for said, _ in ended)


def extract_contours(folder: Path, listed: Path) -> Counter:
    """By the tool: how many contour files and how many refused names."""
    out = folder.parent / f'contours_{folder.name}'
    run = ('extract_contours', folder, '--list', listed, '--out', out)
    device = ('--device', 'cpu', '--threads', 2)
    _print_end(run_tool(*run, '--detector', 'sobel', *device))
    failed = (out / 'failed.txt').read_text().splitlines()
    made = sum(path.suffix == '.zip' for path in out.rglob('*'))
    names = {line.split('\t')[0] for line in failed}
    return Counter({'read': made, 'refused': len(names)})


def extract_features(folder: Path, listed: Path, kind: str) -> Counter:
    """By the tool: how many rows and how many refused names."""
    base, prefix, more = BASES[kind]
    base = str(ROOT / 'configs' / 'downstream' / base)
    names = dict(base=base, folder=folder, listed=listed, prefix=prefix)
    config = folder.parent / f'{kind}.py'
    config.write_text(CONFIG.format(more=more, **names))
    out = folder.parent / f'{kind}.npz'
    run = ('extract_features', config, 'none', '--out', out, '--skip-bad')
    _print_end(run_tool(*run, '--features', 'middle-frame'))
    features = read_features(out)
    refused = {path for path, _ in features.meta['skipped']}
    return Counter({'read': len(features.paths), 'refused': len(refused)})


def _print_end(done: CompletedProcess[str]) -> None:
    if 'Traceback' in done.stderr:
        print(done.stderr[-3000:])
    print(f'  exit status {done.returncode}')


class Server(http.server.BaseHTTPRequestHandler):
    """Counts requests."""

    asked = 0

    def do_GET(self) -> None:
        """Count and refuse."""
        type(self).asked += 1
        self.send_error(404)


def write(top: Path, kind: str, count: int, address: str) -> list[Path]:
    """Write sound, damaged and evil files of a kind into a folder."""
    folder = top / kind
    folder.mkdir()
    sound = damaged.write_sound(folder, kind)
    return [
        *sound,
        *damaged.write_damaged(sound, folder, count=count),
        # The first format is the usual one.
        *damaged.write_evil(folder, sound[0].suffix[1:], address),
    ]


def report(what: str, ended: Counter, files: int) -> None:
    """Print how the files ended, and whether each did in one way."""
    right = sum(ended.values()) == files
    print(
        f'{what}: {files} files, {dict(sorted(ended.items()))}'
        f'{"" if right else " MISCOUNTED"}',
        flush=True,
    )


def main() -> None:
    """Print a line per kind and reader."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--count', type=int, default=10)
    args = parser.parse_args()
    av.logging.set_level(av.logging.PANIC)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f'http://127.0.0.1:{server.server_port}'
    with tempfile.TemporaryDirectory() as top:
        made = {k: write(Path(top), k, args.count, address) for k in BASES}
        for kind, paths in made.items():
            report(f'{kind} training', train(paths, kind), len(paths))
        for kind, paths in made.items():
            folder, listed = paths[0].parent, Path(top) / f'{kind}.txt'
            listed.write_text(''.join(f'{p.name} 0\n' for p in paths))
            contours = extract_contours(folder, listed)
            report(f'{kind} contours', contours, len(paths))
            features = extract_features(folder, listed, kind)
            report(f'{kind} features', features, len(paths))
    print('requests:', Server.asked)


if __name__ == '__main__':
    main()
