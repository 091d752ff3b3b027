"""Does any file make a reader run code or open an address?

    python -m benchmarks.robustness.evil_files

Writes files that call ``os.system``, ``eval``, ``open`` or a socket when they
are unpickled or parsed, in every place of every format, and gives each to
every reader of the package and, a few, to the tools. Python's audit events
tell what was run, besides the mark that each file tries to leave. Prints a
table in Markdown: files read, refused with one line, and other ends.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import mmengine
import numpy as np
import torch
from mmengine.runner.checkpoint import load_checkpoint
from torch import nn

import bimm_mm.compat  # noqa: F401  as the tools do
from benchmarks.robustness.common import (
    ROOT,
    Call,
    print_head,
    print_row,
    run_tool,
)
from bimm_mm.apis.config import load_config
from bimm_mm.apis.curves import read_scalars
from bimm_mm.apis.feature_file import read_features
from bimm_mm.contours.format import ContourFile, Manifest
from bimm_mm.contours.sam.load import load_sam
from bimm_mm.engine import newest_checkpoint
from bimm_mm.models import BIMMVisionTransformer
from bimm_mm.models.checkpoints.load import load_pretrained
from bimm_mm.models.tokenizers.vqgan import read_vqgan
from bimm_mm.utils.list_file import read_dataset
from bimm_mm.utils.safe_load import read_checkpoint
from projects.paper_tables.match import read_results
from projects.paper_tables.tables import read_tables

SPEAKING = ('os.system', 'subprocess.Popen', 'os.exec', 'socket.connect')


def calls(mark: Path) -> dict[str, Call]:
    """What pickles call: all would leave the mark, or corrupt the memory."""
    code = f'open({str(mark)!r}, "w")'
    memory = np.ndarray, (1,), 'O', bytearray(b'\x41' * 8)
    return {
        'os.system': Call(os.system, f'touch {mark}'),
        'Popen': Call(subprocess.Popen, ['touch', str(mark)]),
        'eval': Call(eval, code),
        'exec': Call(exec, code),
        'open': Call(open, str(mark), 'w'),
        'getattr': Call(getattr, torch.Tensor, 'numpy'),
        'partial': Call(partial, os.system, f'touch {mark}'),
        'nested': Call(list, Call(map, eval, [code])),
        'torch.load': Call(partial(torch.load, weights_only=False), str(mark)),
        # An array whose objects are wherever the file says.
        'pointer': Call(*memory),
        'objects': Call(np.dtype, 'O', False, True),
    }


def written(write: Callable[[io.BytesIO], Any]) -> bytes:
    """What a function writes to a file."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def pickles(mark: Path) -> Iterator[bytes]:
    """Checkpoints and archives that hold a call."""
    state = {'backbone.norm.weight': torch.ones(4)}
    for call in calls(mark).values():
        for protocol in range(6):
            yield pickle.dumps(call, protocol)
        groups = {'state': {0: call}, 'param_groups': []}
        for content in (
            call,
            {'state_dict': {**state, 'x': call}},
            {'state_dict': state, 'meta': {'epoch': call}},
            {'state_dict': state, 'optimizer': groups},
            {'state_dict': {('x', call): 1}},
            {'message_hub': {'log_scalars': [call]}},
        ):
            save = partial(torch.save, content)
            for new in (True, False):
                yield written(
                    partial(save, _use_new_zipfile_serialization=new)
                )
    inner = pickle.dumps(calls(mark)['os.system'], 2)
    yield written(partial(_write_tar, content=inner))
    for member in ('data.pkl', 'archive/data.pkl', '../../escaped', '/x.npy'):
        yield written(partial(_write_zip, member=member, content=inner))
    yield written(partial(torch.jit.save, torch.jit.script(nn.Linear(2, 2))))
    objects = np.array([calls(mark)['eval']], dtype=object)
    yield written(lambda file: np.savez(file, labels=objects))
    yield written(lambda file: np.save(file, objects))


def _write_tar(file: io.BytesIO, content: bytes) -> None:
    with tarfile.open(fileobj=file, mode='w') as archive:
        for member in ('storages', 'tensors', 'pickle', '../escaped'):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def _write_zip(file: io.BytesIO, member: str, content: bytes) -> None:
    with ZipFile(file, 'w') as archive:
        archive.writestr(member, content)
        archive.writestr('archive/version', '3\n')
        archive.writestr('meta.npy', b'\x93NUMPY\x01\x00v\x00' + content)


def texts(mark: Path) -> Iterator[bytes]:
    """What a careless parser would run, or not end."""
    shell = f'touch {mark}'
    for text in (
        f'!!python/object/apply:os.system ["{shell}"]',
        f'!!python/object/new:os.system ["{shell}"]',
        '!!python/name:os.system ""',
        'a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b, *b]\n',
        json.dumps({'__reduce__': shell, 'x': f'$({shell})'}),
        '[' * 100_000,
        f'$({shell}).mp4 0\n`{shell}`.mp4 1\n;{shell};.mp4 0\n',
        f'=cmd|"/C {shell}"!A1,0.1,0.1,0.2,0.2,1,1\n',
        'http://127.0.0.1:9/a.mp4 0\n',
        '\x08\0\0\0\0\0\0\0{"a": 1}',  # safetensors
        '\xff' * 8 + '{}',  # of 2^64 bytes
    ):
        yield text.encode('latin-1')


def readers() -> dict[str, tuple[str, Callable[[Path], Any]]]:
    """By name, the name that the file gets and what reads it."""
    encoder = BIMMVisionTransformer(
        {'embed_dims': 24, 'depth': 1, 'num_heads': 2}, img_size=32
    )
    tables = read_tables()

    def results(path: Path) -> None:
        _, _, rejected = read_results([path.parent], tables)
        raise ValueError('; '.join(run.reason for run in rejected))

    def resume(path: Path) -> None:
        if newest_checkpoint(path.parent) is None:
            raise ValueError('passed over')

    def listed(path: Path) -> None:
        read_dataset('VideoDataset', {'ann_file': str(path)})

    def load(path: Path) -> None:
        mmengine.load(str(path))

    mapped = partial(read_checkpoint, mmap=True)
    strict = partial(load_checkpoint, encoder, strict=True)
    return {
        'read_checkpoint': ('a.pth', read_checkpoint),
        'read_checkpoint, mmap': ('a.pth', mapped),
        'read_checkpoint, safetensors': ('a.safetensors', read_checkpoint),
        'init_cfg': ('a.pth', lambda p: load_pretrained(encoder, str(p))),
        '--resume': ('epoch_1.pth', resume),
        "mmengine's load_checkpoint": ('a.pth', lambda p: strict(str(p))),
        'VQGAN': ('last.ckpt', read_vqgan),
        'SAM': ('sam.pth', lambda p: load_sam(str(p))),
        'features': ('a.npz', read_features),
        'contours': ('a.mp4.zip', lambda p: ContourFile(str(p))),
        'contours, manifest': (
            'contours.json',
            lambda p: Manifest.read(str(p.parent)),
        ),
        'leaderboard': ('t/t.json', results),
        'tables': ('tables.yml', read_tables),
        'curves': (
            't/vis_data/scalars.json',
            lambda p: read_scalars(str(p.parents[2])),
        ),
        'annotations, pkl': ('a.pkl', load),
        'annotations, yml': ('a.yml', load),
        'annotations, json': ('a.json', load),
        'config, yml': ('a.yml', load_config),
        'config, json': ('a.json', load_config),
        'list': ('a.txt', listed),
    }


_RAN: list[str] = []  # in this attempt


def _audit(event: str, _: Any) -> None:
    if event in SPEAKING:
        _RAN.append(event)


def attempt(
    read: Callable[[Path], Any], name: str, content: bytes, mark: Path
) -> str:
    """'read', 'refused', or what else became of it."""
    _RAN.clear()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        before = {*Path(folder).parent.glob('escaped*')}
        try:
            # MMEngine says which file it loads.
            with redirect_stdout(io.StringIO()):
                read(path)
            outcome = 'read'
        except (ValueError, FileNotFoundError) as error:
            outcome = 'refused' if str(error) else 'refused without reason'
        except Exception as error:
            outcome = f'{type(error).__name__}: {error}'.splitlines()[0][:90]
        if {*Path(folder).parent.glob('escaped*')} != before:
            outcome = 'WROTE ELSEWHERE'
    if mark.exists() or _RAN:
        mark.unlink(missing_ok=True)
        outcome = f'RAN {_RAN}'
    return outcome


def tools(mark: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """The commands with a few files; how each ended."""
    data = 'work_dirs/quickstart/data'
    run_tool('prepare_quickstart_data', data, cwd=folder)
    evil = calls(mark)['os.system']
    torch.save({'state_dict': {'x': evil}, 'meta': {}}, folder / 'evil.pth')
    (folder / 'evil.npz').write_bytes(pickle.dumps(evil))
    config = ROOT / 'configs' / 'quickstart' / 'pretrain_ventral.py'
    (folder / 'toy.py').write_text(
        f"_base_ = {str(config)!r}\ncontours = 'sobel'\ntest_cfg = dict()\n"
        'test_dataloader = {{_base_.val_dataloader}}\n'
        'test_evaluator = {{_base_.val_evaluator}}\n'
    )
    for command in (
        'train toy.py --resume evil.pth',
        'train toy.py --cfg-options load_from=evil.pth',
        'test toy.py evil.pth',
        'visualize toy.py evil.pth --out out',
        'probe evil.npz evil.npz',
        f'extract_contours {data} --out out --detector sam --weights evil.pth',
    ):
        done = run_tool(*command.split(), cwd=folder)
        said = (done.stderr.strip() or '(nothing)').splitlines()
        ran = ', RAN' if mark.exists() else ''
        last = 'a traceback' if 'Traceback' in done.stderr else said[-1]
        yield command, f'{done.returncode}{ran}: {last}'


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--tools', action='store_true', help='also the tools')
    args = parser.parse_args()
    sys.addaudithook(_audit)
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        folder, mark = Path(name), Path(name, 'mark')
        files = [*pickles(mark), *texts(mark)]
        print_head('reader', 'read', 'refused', 'other')
        for reader, (file, read) in readers().items():
            ends = Counter(attempt(read, file, x, mark) for x in files)
            known = [ends.pop(key, 0) for key in ('read', 'refused')]
            other = '; '.join(f'{n} x {text}' for text, n in ends.items())
            print_row(reader, *known, other)
            bad += ends.total()
        for command, end in tools(mark, folder) if args.tools else ():
            print(f'{command}: {end}')
            named = 'evil.' in end and 'RAN' not in end
            bad += end[0] == '0' or not named
    return int(bad > 0)


if __name__ == '__main__':
    sys.exit(main())
