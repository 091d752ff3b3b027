"""Official names and shapes become this project's, without the code.

``official_names.txt`` has every key of the state dicts of the official ViT-B
models: ``blocks.0-11`` are twelve, ``weight+bias`` has a bias as long as the
weight's first dimension. What needs the code: ``python -m benchmarks.parity``.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.parity.__main__ import convert, main, our_branch
from benchmarks.parity.methods import METHODS

NAMES = Path(__file__).with_name('official_names.txt')


def _numbered(key: str) -> list[str]:
    """Every key that a range of numbers stands for."""
    found = re.search(r'(\d+)-(\d+)', key)
    if found is None:
        return [key]
    numbers = range(int(found[1]), int(found[2]) + 1)
    one = [f'{key[: found.start()]}{n}{key[found.end() :]}' for n in numbers]
    return [key for part in one for key in _numbered(part)]


def _official_states() -> dict[str, dict[str, Tensor]]:
    """State dicts without values, by method."""
    states: dict[str, dict[str, Tensor]] = {}
    for line in NAMES.read_text().splitlines():
        if line.startswith('['):
            state = states[line.strip('[]')] = {}
            continue
        keys, shape = line.split(' ')
        size = [int(n) for n in shape.split('x')]
        for key in _numbered(keys.removesuffix('+bias')):
            state[key] = torch.empty(size, device='meta')
            if keys.endswith('+bias'):
                bias = key.removesuffix('weight') + 'bias'
                state[bias] = torch.empty(size[:1], device='meta')
    return states


STATES = _official_states()


@pytest.mark.parametrize('name', STATES)
def test_official_keys_fill_every_tensor(name):
    method, state = METHODS[name], STATES[name]
    with torch.device('meta'):
        branch = our_branch(method)
    found = convert(state, method, branch)
    branch.load_state_dict(found, assign=True)
    # What is left out is computed here: tables and filters without weights.
    left = {
        key
        for key in state
        if all(
            ours is None or not re.fullmatch(pattern, key)
            for pattern, ours in method.rules.items()
        )
    }
    assert all('pos_embed' in key or 'hog' in key for key in left)
    with pytest.raises(ValueError, match=r"no rule for official 'new\.key'"):
        convert({'new.key': torch.ones(1)}, method, branch)


def test_missing_code_is_named(tmp_path, capsys):
    assert main([str(tmp_path), 'MAE', 'LocalMIM']) == 1
    errors = capsys.readouterr().err
    for repository in ('facebookresearch/mae', 'Haoqing-Wang/LocalMIM'):
        clone = tmp_path / repository.split('/')[1]
        assert f'git clone https://github.com/{repository} {clone}' in errors
    with pytest.raises(SystemExit):
        main([str(tmp_path), 'MAEE'])
    assert "no method {'MAEE'}" in capsys.readouterr().err
