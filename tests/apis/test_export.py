"""Exported encoders compute what the encoder computes, for any batch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import bimm_mm


def onnx_runtime(path: Path):
    import onnx
    import onnxruntime

    # In double precision, which onnxruntime has not, nor anybody wants.
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert not kinds & {'Sin', 'Cos', 'Pow'}
    session = onnxruntime.InferenceSession(path)
    return lambda x: torch.from_numpy(
        session.run(['features'], {'clip': x.numpy()})[0]
    )


def program(path: Path):
    return torch.export.load(path).module()


def weights(path: Path):
    return bimm_mm.load_encoder(path, device='cpu')


READERS = {'.onnx': onnx_runtime, '.pt2': program, '.safetensors': weights}


@torch.no_grad()
@pytest.mark.parametrize(
    ('suffix', 'branch'),
    [
        ('.onnx', 'dorsal'),
        ('.pt2', 'ventral'),
        ('.safetensors', 'ventral'),
        ('.safetensors', 'dorsal'),
    ],
)
def test_what_is_written_computes_the_same(run, suffix, branch, tmp_path):
    encoder = bimm_mm.load_encoder(run, branch=branch, device='cpu').train()
    # So many tokens that no table is computed while it is written.
    encoder.backbone.size = (*encoder.size[:1], 400, 400)
    path = tmp_path / f'encoder{suffix}'
    assert bimm_mm.export(encoder, path) == path
    assert encoder.training and encoder.mean.device.type == 'cpu'
    assert list(tmp_path.iterdir()) == [path]
    compute = READERS[suffix](path)
    for batch in (1, 2, 5):
        x = torch.randn(batch, 3, *encoder.size)
        torch.testing.assert_close(
            compute(x), encoder.eval()(x), atol=1e-5, rtol=0
        )


def test_weights_keep_what_their_input_looks_like(encoder, tmp_path):
    path = bimm_mm.export(encoder, tmp_path / 'a.safetensors')
    ours = bimm_mm.load_encoder(path, device='cpu')
    assert (ours.size, ours.frame_interval) == ((4, 32, 32), 3)
    assert ours.std.equal(encoder.std)
    assert path.stat().st_size < 1.1 * sum(
        value.nbytes for value in encoder.state_dict().values()
    )
    program = {'bimm_mm.json': ''}
    bimm_mm.export(encoder, tmp_path / 'a.pt2')
    torch.export.load(tmp_path / 'a.pt2', extra_files=program)
    assert '"frame_interval": 3' in str(program['bimm_mm.json'])


def test_what_cannot_be_written_is_told(encoder, tmp_path, monkeypatch):
    """Places without room are test_bad_input.py's."""
    with pytest.raises(ValueError, match=r'a\.bin must end with one of \.saf'):
        bimm_mm.export(encoder, tmp_path / 'a.bin')
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with pytest.raises(ImportError, match=r'pip install "bimm_mm\[export\]"'):
        bimm_mm.export(encoder, tmp_path / 'a.onnx')
    assert not list(tmp_path.iterdir())
