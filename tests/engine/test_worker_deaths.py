"""A worker that dies or hangs names its file, and the next run skips it."""

from __future__ import annotations

import errno
import gc
import os
import queue
import signal
import time
from argparse import Namespace
from pathlib import Path
from threading import Timer

import pytest
from mmcv.transforms import BaseTransform
from mmengine.dataset import default_collate
from torch.utils.data import DataLoader, Dataset

import bimm_mm.compat  # noqa: F401  fixes libraries
from benchmarks.robustness.numbered import write
from bimm_mm.apis.one_line import one_line_errors
from bimm_mm.engine import StrictRunner
from bimm_mm.registry import TRANSFORMS
from bimm_mm.utils.reading import WorkerDiedError, worker_deaths_named
from bimm_mm.utils.video import UndecodableVideoError, media_file, note_reading
from tests.engine.conftest import Mean

EVIL = '4.avi'


@TRANSFORMS.register_module()
class DieAt(BaseTransform):
    """Between opening and decoding one file, end or sleep."""

    def __init__(self, number: int) -> None:
        self.number = number

    def transform(self, results: dict) -> dict:
        if results['filename'].endswith(EVIL):
            if self.number:
                os.kill(os.getpid(), self.number)
            time.sleep(60)
        return results


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Six videos and their list."""
    folder = tmp_path / 'some videos'
    folder.mkdir()
    for number in range(6):
        write(folder / f'{number}.avi', 'mpeg4', frames=6)
    lines = [f'{number}.avi {number}\n' for number in range(6)]
    (folder / 'list.txt').write_text(''.join(lines))
    return folder


def run(videos: Path, *, death: int, resume: bool = False) -> Path:
    """Train two epochs on the videos; gives the folder of the run."""
    work_dir = videos.parent / 'run'
    sample = dict(type='SampleFrames', clip_len=2, out_of_bound_opt='loop')
    pipeline = [
        dict(type='bimm_mm.VideoInit'),
        dict(type='bimm_mm.DieAt', number=death),
        sample,
        dict(type='bimm_mm.VideoDecode'),
        dict(type='bimm_mm.PackClipInputs'),
    ]
    StrictRunner(
        model=Mean(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=dict(
                type='VideoDataset',
                ann_file=str(videos / 'list.txt'),
                data_prefix=dict(video=str(videos)),
                pipeline=pipeline,
            ),
            sampler=dict(type='bimm_mm.EpochSampler', shuffle=False),
            collate_fn=default_collate,
            batch_size=2,
            num_workers=2,
            **({} if death else {'timeout': 2}),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[dict(type='bimm_mm.BadVideoHook', max_share=0.5)],
        default_scope='mmaction',
        randomness=dict(seed=3),
        resume=resume,
    ).train()
    return work_dir


@pytest.mark.parametrize(
    ('death', 'words'),
    [
        (signal.SIGSEGV, 'killed by signal: Segmentation fault'),
        (0, 'timed out after 2 seconds'),
    ],
    ids=['crash', 'hang'],
)
def test_next_run_skips_the_file(videos, death, words, monkeypatch):
    # Seconds for which PyTorch waits for what remains of the workers.
    monkeypatch.setattr('torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL', 1)
    with pytest.raises(WorkerDiedError) as error:
        run(videos, death=death)
    told, evil = str(error.value), str(videos / EVIL)
    assert words in told
    assert f'while reading {evil}. It is listed in' in told
    # Its traceback keeps the loader, whose dead workers PyTorch reports
    # wherever another process of this one ends.
    del error
    gc.collect()
    listed = videos.parent / 'run' / 'fatal_files.txt'
    assert listed.read_text() == f'{evil}\n'

    work_dir = run(videos, death=death, resume=True)
    found = (work_dir / 'undecodable.txt').read_text()
    assert found == f'{evil}\ta worker died while reading it\n'
    text = ''.join(path.read_text() for path in work_dir.glob('*/*.log'))
    said = f'1 file(s) at which a worker died before are left out: {listed}'
    assert said in text
    assert text.count('undecodable and replaced in epoch') == 2


class Exit(Dataset):
    """Ends the worker after a file was read."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        note_reading('a.mp4')
        note_reading()
        os._exit(3)


def test_worker_that_reads_nothing_blames_no_file(tmp_path):
    listed = tmp_path / 'list.txt'
    with (
        pytest.raises(WorkerDiedError, match=r'code 3.* no file was being'),
        worker_deaths_named(listed),
    ):
        list(DataLoader(Exit(), num_workers=1))
    assert not listed.exists()


class Endless(Dataset):
    """Gives the number of the worker's process, then reads forever."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        if index:
            note_reading('a.mp4')
            time.sleep(60)
        return os.getpid()


@pytest.mark.parametrize('kind', [EOFError, ConnectionResetError])
def test_a_socket_closes_before_the_death_is_told(kind, tmp_path):
    listed = tmp_path / 'list.txt'
    with (
        pytest.raises(WorkerDiedError, match=r'signal: Killed.*a\.mp4'),
        worker_deaths_named(listed),
    ):
        batches = iter(DataLoader(Endless(), num_workers=1))
        worker = int(next(batches))
        killer = Timer(0.5, os.kill, (worker, signal.SIGKILL))
        killer.start()
        raise kind
    assert listed.read_text() == 'a.mp4\n'


@pytest.mark.parametrize('kind', [EOFError, ConnectionResetError])
def test_a_closed_socket_without_a_death_stays_what_it_is(kind, monkeypatch):
    waits = []
    monkeypatch.setattr(time, 'sleep', waits.append)
    with pytest.raises(kind), worker_deaths_named(None):
        raise kind
    assert waits == [5]


def test_a_name_with_a_line_break_is_skipped_too(tmp_path):
    listed, file = tmp_path / 'fatal_files.txt', tmp_path / 'a\nb.mp4'
    file.write_bytes(b'anything')
    words = rf'exited while reading \S+a b\.mp4\. It is listed in {listed}'
    with (
        pytest.raises(WorkerDiedError, match=words),
        worker_deaths_named(listed),
    ):
        note_reading(str(file))
        said = f'DataLoader worker (pid(s) {os.getpid()}) exited'
        raise RuntimeError(said) from queue.Empty  # as PyTorch raises it
    with worker_deaths_named(listed) as count:
        assert count == 1
        with pytest.raises(UndecodableVideoError, match='a worker died'):
            media_file(str(file))
    assert media_file(str(file)) == str(file)


def test_a_mistake_that_all_processes_make_is_told_once(capsys, monkeypatch):
    # Under torchrun, which ends all others as soon as one has failed.
    waits = []
    monkeypatch.setattr(time, 'sleep', waits.append)
    for rank in ('0', '1'):
        monkeypatch.setenv('RANK', rank)
        with (
            pytest.raises(SystemExit, match='2'),
            one_line_errors(Namespace(debug=False)),
        ):
            raise ValueError('no list')
        assert 'error: no list' in capsys.readouterr().err
    assert waits == [5]


@pytest.mark.parametrize(
    ('error', 'words'),
    [
        (WorkerDiedError('killed\nwhile a.mp4'), ' error: killed while a.mp4'),
        (OSError(errno.ENOSPC, 'No space'), 'No space: free space there'),
    ],
)
def test_deaths_and_full_disks_are_one_line(error, words, capsys, monkeypatch):
    with (
        pytest.raises(SystemExit, match='1'),
        one_line_errors(Namespace(debug=False)),
    ):
        monkeypatch.setattr(StrictRunner, 'began', True)
        raise error
    said = capsys.readouterr().err
    assert said.count('\n') == 1 and words in said
