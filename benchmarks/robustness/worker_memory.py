"""Does a worker's memory grow over epochs with 5 % of damaged files?

    python -m benchmarks.robustness.worker_memory [--epochs 100]

One worker of a dataloader reads 114 sound and 6 damaged videos, then as many
images, through ``ResilientDataset``; its resident memory is printed after the
tenth epoch, at the end, and as a share. Blocks of 128 kB and more, such as
frames, go back to the system at once: otherwise glibc keeps some, and what it
keeps comes and goes.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path

import av
from torch.utils.data import DataLoader

import bimm_mm.compat  # noqa: F401  fixes libraries
from benchmarks.robustness import damaged
from bimm_mm.datasets import EpochSampler
from bimm_mm.registry import DATASETS
from bimm_mm.utils.image import read_image
from bimm_mm.utils.video import UndecodableVideoError, VideoReader

SOUND, BAD = 114, 6
_M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
DATASET = {
    'videos': 'mmaction.VideoDataset',
    'images': 'mmpretrain.CustomDataset',
}


def write(folder: Path, kind: str) -> list[Path]:
    """Copies of sound files, and damaged ones that are refused."""
    folder.mkdir()
    source = folder.parent / f'sound_{kind}'
    source.mkdir()
    sound = damaged.write_sound(source, kind)
    files = []
    for number in range(SOUND):
        original = sound[number % len(sound)]
        files.append(folder / f'{number}{original.suffix}')
        shutil.copy(original, files[-1])
    bad = (p for p in damaged.write_damaged(sound, source, count=2))
    refused = [path for path in bad if _is_refused(path, kind)]
    # Of as many kinds and formats as possible.
    for path in refused[:: len(refused) // BAD][:BAD]:
        files.append(folder / path.name)
        shutil.copy(path, files[-1])
    return files


def _is_refused(path: Path, kind: str) -> bool:
    try:
        if kind == 'images':
            read_image(str(path))
        else:
            with VideoReader(str(path)) as reader:
                reader.get_batch(range(0, len(reader), 4))
    except UndecodableVideoError:
        return True
    return False


def resident(process: int) -> float:
    """Memory of a process in MB."""
    pages = int(Path(f'/proc/{process}/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20


def load(listed: Path, kind: str) -> DataLoader:
    """A loader of one worker that lives through all epochs."""
    steps = damaged.DECODING[kind]
    decode = {'type': 'bimm_mm.SafeDecode', 'transforms': steps}
    dataset = DATASETS.build(
        dict(
            type='bimm_mm.ResilientDataset',
            dataset=dict(
                type=DATASET[kind],
                ann_file=str(listed),
                pipeline=[decode, {'type': 'bimm_mm.PackClipInputs'}],
            ),
        )
    )
    return DataLoader(
        dataset,
        sampler=EpochSampler(dataset, seed=0),
        num_workers=1,
        persistent_workers=True,
        collate_fn=list,
    )


def measure(loader: DataLoader, epochs: int) -> tuple[int, list[float]]:
    """How many files were replaced, and the memory in MB after each epoch."""
    replaced, memory = 0, []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for batch in loader:
            samples = [sample['data_samples'] for sample in batch]
            replaced += sum(len(each.get('replaced')) for each in samples)
        (worker,) = multiprocessing.active_children()
        assert worker.pid is not None
        memory.append(resident(worker.pid))
    return replaced, memory


def main() -> None:
    """Print a line per kind."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--epochs', type=int, default=100)
    args = parser.parse_args()
    av.logging.set_level(av.logging.PANIC)
    # Else glibc keeps freed memory for later, at times more, at times less.
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**17)
    with tempfile.TemporaryDirectory() as top:
        for kind in DATASET:
            files = write(Path(top) / kind, kind)
            listed = Path(top) / f'{kind}.txt'
            listed.write_text(''.join(f'{path} 0\n' for path in files))
            replaced, memory = measure(load(listed, kind), args.epochs)
            early, last = memory[9], memory[-1]
            print(
                f'{kind}: {len(files)} files, {replaced} replaced in '
                f'{args.epochs} epochs, {early:.1f} MB after 10, {last:.1f} '
                f'MB at the end ({last / early - 1:+.2%})',
                flush=True,
            )


if __name__ == '__main__':
    main()
