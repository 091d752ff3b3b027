"""The linear layer equals ``F.linear`` on either path."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from bimm_mm.models import linear as module
from bimm_mm.models.linear import Linear, inference_linear, linear


@pytest.fixture
def as_convolution(monkeypatch):
    """Take the path of AMD's CPUs on any machine."""
    monkeypatch.setattr(module, '_mkl_is_slow', lambda: True)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 2)


@pytest.fixture
def arguments():
    torch.manual_seed(0)
    shapes = ((3, 7, 16), (24, 16), (24,))
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


def used(run) -> set[str]:
    """Which products ``run`` calls."""
    with FlopCounterMode(display=False) as counter:
        run()
    return {str(op) for op in counter.get_flop_counts().get('Global', {})}


@pytest.mark.parametrize('contiguous', [True, False])
@pytest.mark.parametrize('bias', [True, False])
def test_same_output_and_gradients(
    as_convolution, arguments, contiguous, bias
):
    x, weight, b = arguments
    given = x if contiguous else x[:, 2:]
    b = b if bias else None
    wanted = [a for a in (x, weight, b) if a is not None]
    expected, actual = F.linear(given, weight, b), linear(given, weight, b)
    assert used(lambda: linear(given, weight, b)) == {'aten.convolution'}
    torch.testing.assert_close(actual, expected)
    assert actual.is_contiguous()
    g = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad(actual, wanted, g),
        torch.autograd.grad(expected, wanted, g),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('shape', [(0, 16), (3, 0, 16), (0, 7, 16)])
def test_no_rows(as_convolution, arguments, shape):
    _, weight, bias = arguments
    x = torch.empty(shape, requires_grad=True)
    out = linear(x, weight, bias)
    assert out.shape == (*shape[:-1], 24)
    out.sum().backward()
    assert x.grad.shape == shape
    assert weight.grad.eq(0).all()
    assert bias.grad.eq(0).all()


@pytest.mark.parametrize('threads', [1, 2])
def test_without_gradients(as_convolution, arguments, monkeypatch, threads):
    """oneDNN's product, with one thread, too; gradients get the other."""
    x, weight, bias = arguments
    monkeypatch.setattr(torch, 'get_num_threads', lambda: threads)
    for given in (x, x[:, 2:], x[:, :0], x[0, 0]):
        expected = F.linear(given, weight, bias)
        with torch.no_grad():
            found = inference_linear(given, weight, bias)
        torch.testing.assert_close(found, expected.detach())
        assert inference_linear(given, weight, bias).requires_grad
    with torch.no_grad():
        assert used(lambda: inference_linear(x, weight, bias)) == set()


def test_one_graph(as_convolution, arguments):
    """Which product it is does not break what is compiled."""
    x, weight, bias = arguments
    for product in (linear, inference_linear):
        run = torch.compile(product, backend='eager', fullgraph=True)
        with torch.no_grad():
            run(x, weight, bias)


def test_layer_is_a_linear_layer(as_convolution, arguments):
    x, weight, b = arguments
    layer = Linear(16, 24)
    layer.load_state_dict({'weight': weight, 'bias': b})
    assert isinstance(layer, torch.nn.Linear)
    torch.testing.assert_close(layer(x), F.linear(x, weight, b))


def test_plain_where_it_does_not_pay(as_convolution, arguments, monkeypatch):
    x, weight, b = arguments
    plain = {'aten.addmm'}
    assert used(lambda: linear(x.double(), weight.double(), b.double())) == (
        plain
    )
    meta = [a.to('meta') for a in arguments]
    assert used(lambda: linear(*meta)) == plain
    with torch.autocast('cpu', torch.bfloat16):
        assert used(lambda: linear(x, weight, b)) == plain
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 1)
    assert used(lambda: linear(x, weight, b)) == plain


@pytest.mark.parametrize(
    ('vendor', 'capability', 'slow'),
    [
        ('AuthenticAMD', 'AVX512', True),
        ('AuthenticAMD', 'AVX2', False),
        ('GenuineIntel', 'AVX512', False),
    ],
)
def test_only_amd_with_avx512(monkeypatch, tmp_path, vendor, capability, slow):
    info = tmp_path / 'cpuinfo'
    info.write_text(f'processor : 0\nvendor_id : {vendor}\n')
    monkeypatch.setattr(module, '_CPU_INFO', info)
    backends = torch.backends
    monkeypatch.setattr(backends.mkl, 'is_available', lambda: True)
    monkeypatch.setattr(backends.mkldnn, 'is_available', lambda: True)
    monkeypatch.setattr(backends.cpu, 'get_cpu_capability', lambda: capability)
    module._mkl_is_slow.cache_clear()
    try:
        assert module._mkl_is_slow() is slow
    finally:
        module._mkl_is_slow.cache_clear()
