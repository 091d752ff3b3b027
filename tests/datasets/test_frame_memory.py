"""Workers see the frames of their parent and hold no copy."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from bimm_mm.datasets.frame_memory import FrameMemory, VideoSize

_MIB = 2**20


def _memory(frames: int = 8) -> FrameMemory:
    memory = FrameMemory(stride=1)
    sizes = {
        name: VideoSize(frames, (512, 512), 25.0, (frames, 512, 512, 3))
        for name in ('a', 'b')
    }
    memory.allocate(sizes)
    for name in sizes:
        frames_ = memory[name].frames
        frames_[:] = np.arange(frames, dtype=np.uint8)[:, None, None, None]
    return memory


def _inode(memory: FrameMemory) -> int:
    """Of the file that the frames are in, as this process maps it."""
    address = memory['a'].frames.ctypes.data
    for area in _areas('self'):
        first = area.split(maxsplit=1)[0]
        start, end = (int(x, 16) for x in first.split('-'))
        if start <= address < end:
            assert 'bimm_mm-frames' in area
            return int(area.split()[4])
    raise AssertionError('not mapped')


def _areas(process: int | str) -> list[str]:
    text = Path(f'/proc/{process}/smaps').read_text()
    return re.split(r'(?m)^(?=[0-9a-f]+-[0-9a-f]+ )', text)[1:]


def _kib(area: str, name: str) -> int:
    return int(re.search(rf'(?m)^{name}: +(\d+) kB', area)[1])


def _loader(memory: FrameMemory, start: str, times: int = 2) -> DataLoader:
    # A spawned worker cannot import a dataset that this file would define.
    return DataLoader(
        memory,
        batch_size=None,
        sampler=['a', 'b'] * times,
        num_workers=2,
        multiprocessing_context=start,
        persistent_workers=True,
    )


@pytest.mark.skipif(not Path('/proc/self/smaps').is_file(), reason='Linux')
@pytest.mark.parametrize('start', ['fork', 'spawn'])
def test_workers_share_one_memory(start: str) -> None:
    memory = _memory()
    memory.freeze()
    batches = iter(_loader(memory, start))
    for video in batches:
        assert np.array_equal(video.frames, memory['a'].frames)
    processes = [worker.pid for worker in batches._workers]
    assert len(set(processes)) == 2
    inode = _inode(memory)
    for process in processes:
        # The inode names the one file, wherever it is mapped.
        mapped = [
            area
            for area in _areas(process)
            if int(area.split()[4]) == inode and 'bimm_mm-frames' in area
        ]
        assert len(mapped) == 1
        # Sent back to us, so read; but no page is the worker's own.
        assert _kib(mapped[0], 'Rss') >= memory['a'].frames.nbytes // 1024
        assert _kib(mapped[0], 'Anonymous') == 0


def test_what_a_parent_writes_a_worker_sees() -> None:
    memory = _memory()
    batches = iter(_loader(memory, 'fork', times=8))
    next(batches)
    memory['a'].frames[:] = 77
    memory['b'].frames[:] = 77
    assert (list(batches)[-1].frames == 77).all()


def test_copy_of_a_config_copies_no_frames() -> None:
    memory = _memory()
    assert copy.deepcopy({'memory': [memory]})['memory'][0] is memory


def test_frames_are_not_pickled() -> None:
    memory = _memory()
    assert memory['a'].frames.nbytes == 6 * _MIB
    again = pickle.dumps(memory)
    assert len(again) < 2000
    other = pickle.loads(again)
    assert np.array_equal(other['b'].frames, memory['b'].frames)
    memory['b'].frames[:] = 5
    assert (other['b'].frames == 5).all()


def test_indexing_by_a_list_copies() -> None:
    memory = _memory()
    clip = memory['a'].frames[np.array([0, 3])]
    clip[:] = 200
    assert memory['a'].frames[3].max() == 3
    assert torch.from_numpy(clip).max() == 200
