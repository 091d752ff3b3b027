"""Put a pretraining run into one small file that comes with the package.

Encoders and decoders in half precision, with the config. ``python -m
projects.mini_study.pack RUN bimm_mm/apis/weights/bimm-cpu-demo.safetensors``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from safetensors.torch import save

from bimm_mm.apis.source import intervals, read_source
from bimm_mm.utils.files import sha256_of_file, write_bytes
from bimm_mm.utils.processes import mistakes_told

# What loading a model and making its pictures reads.
KEPT = ('model', 'data_preprocessor')


def pack(run: str | Path, out: str | Path) -> Path:
    """Write weights and config of a run's newest checkpoint.

    Of the data nothing but the interval of the frames is kept.
    """
    found = read_source(run)
    if found.cfg is None:
        raise ValueError(f'{run} has no config: give a run of pretraining')
    cfg = Config({key: found.cfg[key] for key in KEPT if key in found.cfg})
    interval = next(intervals(found.cfg.train_dataloader))
    cfg.train_dataloader = {
        'dataset': {'type': 'SampleFrames', 'frame_interval': interval}
    }
    cfg.model.pop('ventral_checkpoint', None)
    # Shared blocks stand in both branches, each with values of its own.
    weights = {
        key: (x.half() if x.is_floating_point() else x).clone()
        for key, x in found.state.items()
    }
    meta = {'format': 'pt', 'cfg': cfg.pretty_text}
    write_bytes(save(weights, meta), out)
    return Path(out)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file and print its size and hash."""
    parser = argparse.ArgumentParser(
        prog='python -m projects.mini_study.pack', description=__doc__
    )
    parser.add_argument('run', type=Path)
    parser.add_argument('out', type=Path)
    args = parser.parse_args(argv)
    path = pack(args.run, args.out)
    print(f'{path}: {path.stat().st_size} bytes, {sha256_of_file(path)}')
    return 0


if __name__ == '__main__':
    with mistakes_told():
        sys.exit(main())
