"""Two gloo processes compute what one does with the joined batch."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel

from bimm_mm.models import BIMM
from bimm_mm.structures import ClipBatch, TokenIndices
from tests.models.conftest import random_clips
from tests.processes import Started

BATCH, FRAMES = 4, 4


def _fix_draws(model, part):
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


def _clips(part):
    """This process's share of the batch."""
    whole = random_clips(BATCH, FRAMES, seed=2)
    maps = (whole.inputs, whole.pixels, whole.contour)
    return ClipBatch(*(x[part] for x in maps))


def _step(ventral, dorsal, out):
    """Losses and gradients of a step, in the process of each rank."""
    world = int(os.environ.get('WORLD_SIZE', 1))
    rank, share = int(os.environ.get('RANK', 0)), BATCH // world
    part = slice(share * rank, share * (rank + 1))
    torch.manual_seed(0)
    model = wrapped = BIMM(ventral, dorsal=dorsal, share_blocks=2)
    _fix_draws(model, part)
    if world > 1:
        dist.init_process_group('gloo')
        # Kept by name: gradients are not reduced once the wrapper is gone.
        wrapped = MMDistributedDataParallel(model)
    losses = wrapped(inputs=_clips(part), mode='loss')
    sum(losses.values()).backward()
    losses = {key: value.detach() for key, value in losses.items()}
    if world > 1:
        for value in losses.values():
            dist.all_reduce(value)
            value /= world
    if rank == 0:
        grads = {key: p.grad for key, p in model.named_parameters()}
        torch.save(dict(losses=losses, grads=grads), out)


def test_two_processes_equal_one(ventral_cfg, dorsal_cfg, tmp_path):
    given, outs = (
        (ventral_cfg, dorsal_cfg),
        [tmp_path / 'one', tmp_path / 'two'],
    )
    _step(*given, outs[0])
    log = tmp_path / 'said.txt'
    processes = Started(_step, *given, outs[1], log=log, ranks=2)
    assert processes.wait() == [0, 0], processes.said
    one, two = (torch.load(out, weights_only=True) for out in outs)
    torch.testing.assert_close(two['losses'], one['losses'], rtol=1e-5, atol=0)
    assert one['grads'].keys() == two['grads'].keys()
    for key, grad in one['grads'].items():
        # Relative to the tensor: single entries may be all but zero, and a
        # key's bias is zero but for rounding, since softmax ignores it.
        scale = max(grad.abs().max().item(), 1e-3)
        torch.testing.assert_close(
            two['grads'][key], grad, rtol=1e-5, atol=1e-5 * scale
        )
