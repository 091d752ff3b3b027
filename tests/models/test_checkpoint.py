"""Reading checkpoints: every layout, nothing but tensors, clear errors."""

import pickle

import pytest
import torch

from bimm_mm.models.checkpoints.load import read_state_dict, subtree

WEIGHTS = {'a.weight': torch.arange(3.0), 'b.bias': torch.ones(2)}


@pytest.mark.parametrize(
    'wrap',
    [
        lambda w: w,
        lambda w: dict(meta=dict(epoch=3), state_dict=w),  # MMEngine
        lambda w: dict(model=w, epoch=3),  # MAE
        lambda w: dict(module=w),  # VideoMAE with DeepSpeed
    ],
    ids=['bare', 'mmengine', 'mae', 'deepspeed'],
)
def test_layouts(wrap, tmp_path):
    torch.save(wrap(WEIGHTS), tmp_path / 'a.pth')
    state = read_state_dict(tmp_path / 'a.pth')
    assert state.keys() == WEIGHTS.keys()
    assert all(torch.equal(state[key], WEIGHTS[key]) for key in WEIGHTS)


def test_subtree():
    assert list(subtree(WEIGHTS, 'a.')) == ['weight']


def test_missing_file():
    with pytest.raises(FileNotFoundError, match=r'no checkpoint at gone\.pth'):
        read_state_dict('gone.pth')


def test_no_state_dict(tmp_path):
    torch.save(dict(epoch=3), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'a\.pth holds no state dict'):
        read_state_dict(tmp_path / 'a.pth')


@pytest.mark.parametrize('content', [b'', b'abc', b'not a checkpoint'])
def test_other_file(content, tmp_path):
    path = tmp_path / 'a.pth'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'a\.pth cannot be read'):
        read_state_dict(path)


class _Evil:
    """Would run code when unpickled."""

    def __reduce__(self):
        return (print, ('this must not be printed',))


def test_code_in_a_checkpoint_is_not_run(tmp_path, capsys):
    path = tmp_path / 'a.pth'
    torch.save(dict(state_dict=WEIGHTS, extra=_Evil()), path)
    with pytest.raises(ValueError, match=r'a\.pth cannot be read'):
        read_state_dict(path)
    path.write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(ValueError, match=r'a\.pth cannot be read'):
        read_state_dict(path)
    assert 'printed' not in capsys.readouterr().out
