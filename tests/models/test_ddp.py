"""Two gloo processes compute what one does with the joined batch."""

import json
import sys
from pathlib import Path

import torch

from tests.processes import ROOT, run_command

SCRIPT = Path(__file__).with_name('one_step.py')


def _run(processes, configs, out):
    torchrun = (sys.executable, '-m', 'torch.distributed.run', '--standalone')
    done = run_command(
        *(*torchrun, f'--nproc_per_node={processes}', SCRIPT, configs, out),
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out, weights_only=True)


def test_two_processes_equal_one(ventral_cfg, dorsal_cfg, tmp_path):
    configs = tmp_path / 'configs.json'
    configs.write_text(json.dumps([ventral_cfg, dorsal_cfg]))
    one, two = (
        _run(count, str(configs), str(tmp_path / f'{count}.pth'))
        for count in (1, 2)
    )
    assert one['losses'].keys() == two['losses'].keys()
    for key, value in one['losses'].items():
        torch.testing.assert_close(
            two['losses'][key], value, rtol=1e-5, atol=0
        )
    assert one['grads'].keys() == two['grads'].keys()
    for key, grad in one['grads'].items():
        # Relative to the tensor: single entries may be all but zero, and a
        # key's bias is zero but for rounding, since softmax ignores it.
        scale = max(grad.abs().max().item(), 1e-3)
        torch.testing.assert_close(
            two['grads'][key], grad, rtol=1e-5, atol=1e-5 * scale
        )
