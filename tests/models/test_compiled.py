"""A whole pretraining model under torch.compile."""

from __future__ import annotations

import pytest
import torch

from bimm_mm.models import MaskedBranch


@pytest.mark.filterwarnings('ignore')
def test_losses_and_gradients_for_changing_batches(dorsal_cfg, make_clips):
    dorsal_cfg['backbone']['arch'].update(depth=1)
    last = dict(dorsal_cfg['areas'][-1], after_block=1)
    model = MaskedBranch(**dorsal_cfg | dict(areas=[last]))
    model.init_weights()
    torch._dynamo.reset()
    compiled = torch.compile(model.forward, backend='aot_eager')
    for batch in (2, 3):
        clips = make_clips(batch)
        sums = []
        for run in (compiled, model.forward):
            model.zero_grad()
            torch.manual_seed(0)
            losses = run(clips)
            sum(losses.values()).backward()
            grads = [p.grad.clone() for p in model.parameters()]
            sums.append((losses, grads))
        torch.testing.assert_close(*sums, atol=1e-5, rtol=1e-4)
