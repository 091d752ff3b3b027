"""One forward and backward pass, run by torchrun; see test_ddp.py.

Usage: one_step.py CONFIGS OUT. Every process takes its share of the same
batch, with the masks and frames that the whole batch has in one process.
"""

import json
import os
import sys

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel

import bimm_mm.compat  # noqa: F401  fixes libraries
from bimm_mm.models import BIMM
from bimm_mm.structures import ClipBatch, TokenIndices
from bimm_mm.utils.processes import end_processes

BATCH = 4
FRAMES = 4


def fix_draws(model, part):
    """Masks and frames of the whole batch, of which ``part`` is used."""
    for branch, grid in (
        (model.dorsal, (2, 4, 4)),
        (model.ventral, (1, 4, 4)),
    ):
        torch.manual_seed(1)
        whole = branch.masking(BATCH, grid)
        cut = TokenIndices(*(index[part] for index in whole))
        branch.masking.forward = lambda *_, cut=cut, **__: cut
    frames = torch.arange(BATCH)[part] % FRAMES
    model.sample_frame = lambda clip: clip.frame(frames)


def clips(part):
    """This process's share of the batch."""
    rng = torch.Generator().manual_seed(2)
    size = (FRAMES, 64, 64)
    pixels = torch.rand(BATCH, 3, *size, generator=rng)[part]
    contour = torch.rand(BATCH, 1, *size, generator=rng)[part]
    return ClipBatch((pixels - 0.45) / 0.225, pixels, contour)


def main(configs, out):
    torch.set_num_threads(1)
    dist.init_process_group('gloo')
    rank, world = dist.get_rank(), dist.get_world_size()
    share = BATCH // world
    part = slice(share * rank, share * (rank + 1))
    with open(configs) as file:
        ventral, dorsal = json.load(file)
    torch.manual_seed(0)
    model = BIMM(ventral, dorsal=dorsal, share_blocks=2)
    fix_draws(model, part)
    # Kept by name: gradients are not reduced once the wrapper is gone.
    wrapped = MMDistributedDataParallel(model)
    losses = wrapped(inputs=clips(part), mode='loss')
    sum(losses.values()).backward()
    losses = {key: value.detach() for key, value in losses.items()}
    for value in losses.values():
        dist.all_reduce(value)
        value /= world
    if rank == 0:
        grads = {key: p.grad for key, p in model.named_parameters()}
        torch.save(dict(losses=losses, grads=grads), out)
    dist.barrier()
    end_processes()


if __name__ == '__main__':
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    main(*sys.argv[1:])
