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

ROOT = Path(__file__).resolve().parents[2]
SPEAKING = ('os.system', 'subprocess.Popen', 'os.exec', 'socket.connect')


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Callable, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable, tuple]:
        return self.call


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


def pickles(folder: Path, mark: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of checkpoints that hold a call."""
    state = {'backbone.norm.weight': torch.ones(4)}
    for name, call in calls(mark).items():
        for protocol in range(6):
            yield f'{name}, protocol {protocol}', pickle.dumps(call, protocol)
        for place, content in {
            'bare': call,
            'in the weights': {'state_dict': {**state, 'x': call}},
            'in the meta': {'state_dict': state, 'meta': {'epoch': call}},
            'in the optimizer': {
                'state_dict': state,
                'optimizer': {'state': {0: call}, 'param_groups': []},
            },
            'as a key': {'state_dict': {('x', call): 1}},
            'of the history': {'message_hub': {'log_scalars': [call]}},
        }.items():
            for kind in (True, False):
                file = io.BytesIO()
                torch.save(content, file, _use_new_zipfile_serialization=kind)
                form = 'zip' if kind else 'legacy'
                yield f'{name} {place}, {form}', file.getvalue()
    inner = pickle.dumps(calls(mark)['os.system'], 2)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w') as archive:
        for member in ('storages', 'tensors', 'pickle', '../escaped'):
            info = tarfile.TarInfo(member)
            info.size = len(inner)
            archive.addfile(info, io.BytesIO(inner))
    yield 'tar', file.getvalue()
    for member in ('data.pkl', 'archive/data.pkl', '../../escaped', '/x.npy'):
        file = io.BytesIO()
        with ZipFile(file, 'w') as zipped:
            zipped.writestr(member, inner)
            zipped.writestr('archive/version', '3\n')
            zipped.writestr('meta.npy', b'\x93NUMPY\x01\x00v\x00' + inner)
        yield f'zip with {member}', file.getvalue()
    torch.jit.script(nn.Linear(2, 2)).save(str(folder / 'jit'))
    yield 'torch.jit', (folder / 'jit').read_bytes()
    file = io.BytesIO()
    np.savez(file, labels=np.array([calls(mark)['eval']], dtype=object))
    yield 'npz of objects', file.getvalue()
    file = io.BytesIO()
    np.save(file, np.array([calls(mark)['eval']], dtype=object))
    yield 'npy of objects', file.getvalue()


def texts(mark: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of texts that a careless parser would run."""
    shell = f'touch {mark}'
    for name, text in {
        'yaml apply': f'!!python/object/apply:os.system ["{shell}"]',
        'yaml new': f'!!python/object/new:os.system ["{shell}"]',
        'yaml name': '!!python/name:os.system ""',
        'yaml bomb': 'a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b, *b]\n',
        'json code': json.dumps({'__reduce__': shell, 'x': f'$({shell})'}),
        'json deep': '[' * 100_000,
        'names': f'$({shell}).mp4 0\n`{shell}`.mp4 1\n;{shell};.mp4 0\n',
        'formula': f'=cmd|"/C {shell}"!A1,0.1,0.1,0.2,0.2,1,1\n',
        'address': 'http://127.0.0.1:9/a.mp4 0\n',
        'safetensors': '\x08\0\0\0\0\0\0\0{"a": 1}',
        'safetensors of 2^63': '\xff' * 8 + '{}',
    }.items():
        yield name, text.encode('latin-1')


def readers() -> dict[str, tuple[str, Callable[[Path], Any]]]:
    """By name, the name that the file gets and what reads it."""
    encoder = BIMMVisionTransformer(
        {'embed_dims': 24, 'depth': 1, 'num_heads': 2}, img_size=32
    )
    tables = read_tables()

    def results(path: Path) -> None:
        _, _, rejected = read_results([path.parent], tables)
        raise ValueError('; '.join(run.reason for run in rejected))

    def annotations(path: Path) -> None:
        mmengine.load(str(path))

    def named(function: Callable) -> Callable[[Path], Any]:
        return lambda path: function(str(path))

    def above(function: Callable, levels: int = 0) -> Callable[[Path], Any]:
        return lambda path: function(str(path.parents[levels]))

    def whole(path: Path) -> None:
        if newest_checkpoint(path.parent) is None:
            raise ValueError('passed over')

    return {
        'read_checkpoint': ('a.pth', read_checkpoint),
        'read_checkpoint, mmap': (
            'a.pth',
            partial(read_checkpoint, mmap=True),
        ),
        'read_checkpoint, safetensors': ('a.safetensors', read_checkpoint),
        'init_cfg': (
            'a.pth',
            lambda path: load_pretrained(encoder, str(path)),
        ),
        '--resume': ('epoch_1.pth', whole),
        "mmengine's load_checkpoint": (
            'a.pth',
            lambda path: load_checkpoint(encoder, str(path), strict=True),
        ),
        'VQGAN': ('last.ckpt', read_vqgan),
        'SAM': ('sam.pth', named(load_sam)),
        'features': ('a.npz', read_features),
        'contours': ('a.mp4.zip', named(ContourFile)),
        'contours, manifest': ('contours.json', above(Manifest.read)),
        'leaderboard': ('t/t.json', results),
        'tables': ('tables.yml', read_tables),
        'curves': ('t/vis_data/scalars.json', above(read_scalars, 2)),
        'annotations, pkl': ('a.pkl', annotations),
        'annotations, yml': ('a.yml', annotations),
        'annotations, json': ('a.json', annotations),
        'config, yml': ('a.yml', load_config),
        'config, json': ('a.json', load_config),
        'list': ('a.txt', read_listed),
    }


def read_listed(path: Path) -> None:
    """Read a list of videos."""
    read_dataset('VideoDataset', {'ann_file': str(path)})


def attempt(
    read: Callable[[Path], Any], name: str, content: bytes, mark: Path
) -> str:
    """'read', 'refused', or what else became of it."""
    ran: list[str] = []
    _WATCHED.append(ran)
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
    _WATCHED.clear()
    if mark.exists() or ran:
        mark.unlink(missing_ok=True)
        outcome = f'RAN {ran}'
    return outcome


_WATCHED: list[list[str]] = []


def _audit(event: str, _: Any) -> None:
    if event in SPEAKING:
        for ran in _WATCHED:
            ran.append(event)


def table(mark: Path, folder: Path) -> dict[str, Counter[str]]:
    """Every file to every reader: how often which end, by reader."""
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    files = [*pickles(folder, mark), *texts(mark)]
    return {
        name: Counter(
            attempt(read, file, content, mark) for _, content in files
        )
        for name, (file, read) in readers().items()
    }


def tools(mark: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """The commands with a few files; how each ended."""

    def run(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / 'tools' / f'{tool}.py'), *arguments],
            cwd=folder,
            env={
                **os.environ,
                'PYTHONPATH': str(ROOT),
                'BIMM_CONTOURS': 'sobel',
            },
            capture_output=True,
            text=True,
            check=False,
        )

    run('prepare_quickstart_data', 'work_dirs/quickstart/data')
    evil = calls(mark)['os.system']
    torch.save({'state_dict': {'x': evil}, 'meta': {}}, folder / 'evil.pth')
    (folder / 'evil.npz').write_bytes(pickle.dumps(evil))
    config = ROOT / 'configs' / 'quickstart' / 'pretrain_ventral.py'
    (folder / 'toy.py').write_text(
        f'_base_ = {str(config)!r}\ntest_cfg = dict()\n'
        'test_dataloader = {{_base_.val_dataloader}}\n'
        'test_evaluator = {{_base_.val_evaluator}}\n'
    )
    for tool, *arguments in (
        ('train', 'toy.py', '--resume', 'evil.pth'),
        ('train', 'toy.py', '--cfg-options', 'load_from=evil.pth'),
        ('test', 'toy.py', 'evil.pth'),
        ('visualize', 'toy.py', 'evil.pth', '--out', 'out'),
        ('probe', 'evil.npz', 'evil.npz'),
        (
            *('extract_contours', 'work_dirs/quickstart/data', '--out', 'out'),
            *('--detector', 'sam', '--weights', 'evil.pth'),
        ),
    ):
        done = run(tool, *arguments)
        said = (done.stderr.strip() or '(nothing)').splitlines()
        ran = ', RAN' if mark.exists() else ''
        lines = 'a traceback' if 'Traceback' in done.stderr else said[-1]
        yield f'{tool} {arguments[1]}', f'{done.returncode}{ran}: {lines}'


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--tools', action='store_true', help='also the tools')
    args = parser.parse_args()
    sys.addaudithook(_audit)
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        folder, mark = Path(name), Path(name, 'mark')
        print('| reader | read | refused | other |\n| --- | --- | --- | --- |')
        for reader, found in table(mark, folder).items():
            known = [found.pop(key, 0) for key in ('read', 'refused')]
            other = '; '.join(f'{n} x {text}' for text, n in found.items())
            print(f'| {reader} | {known[0]} | {known[1]} | {other} |')
            bad += found.total()
        for command, end in tools(mark, folder) if args.tools else ():
            print(f'{command}: {end}')
            bad += 'traceback' in end or 'RAN' in end or end[0] == '0'
    return int(bad > 0)


if __name__ == '__main__':
    sys.exit(main())
