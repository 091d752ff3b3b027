"""The counter of bytes against sums by hand and against the allocator."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from bimm_mm.models import BIMMVisionTransformer
from bimm_mm.models.layers.block import Block
from bimm_mm.models.layers.position import position_table

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30


@pytest.fixture
def load(monkeypatch):
    """Import a file of tools/benchmarks by name."""
    monkeypatch.syspath_prepend(ROOT / 'tools' / 'benchmarks')
    return importlib.import_module


@pytest.fixture
def memory(load) -> ModuleType:
    return load('memory')


@pytest.fixture
def live_bytes(load) -> ModuleType:
    return load('live_bytes')


@pytest.mark.parametrize('fake', [True, False])
def test_mlp_by_hand(live_bytes, fake):
    def count():
        mlp = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8))
        weights = 4 * (8 * 32 + 32 + 32 * 8 + 8)
        with live_bytes.LiveBytes(mlp.parameters()) as live:
            assert live.now == weights
            x = torch.ones(5, 8)
            loss = mlp(x).square().mean()
            # Kept: input, input and output of GELU, what is squared; the loss.
            kept = 4 * (5 * 8 + 2 * 5 * 32 + 5 * 8 + 1)
            assert live.now == weights + kept
            loss.backward()
            del loss, x
            assert live.now == 2 * weights  # and the gradients
        return live.peak - weights

    if fake:
        with live_bytes.fake_tensors():
            peak = count()
    else:
        peak = count()
    # The loss, its gradient, the gradient of the output, of GELU's output,
    # and of its input are alive at most together with what is kept.
    assert 4 * 2 * 5 * 32 < peak < 4 * (4 * 5 * 32 + 4 * 5 * 8 + 600)


def test_block_by_hand(live_bytes):
    """What a block keeps under autocast, in bytes per token and width D."""
    width, heads, tokens = 64, 4, 48
    with live_bytes.fake_tensors():
        block = Block(width, num_heads=heads)
        x = torch.ones(2, tokens, width, requires_grad=True)
        with live_bytes.LiveBytes([x, *block.parameters()]) as live:
            before = live.now
            with torch.autocast('cpu', dtype=torch.bfloat16):
                out = block(x)
            kept = live.now - before
            assert out.shape == x.shape
    streams = 4 + 4  # residuals in fp32 after attention and after the MLP
    normed = 2 + 2  # in bfloat16, before attention and before the MLP
    attention = 6 + 2  # queries, keys and values; their output
    hidden = 8 + 8  # before and after GELU
    per_token = (streams + normed + attention + hidden) * width
    per_token += 4 * heads  # sums of the softmax
    per_token += 2 * 2 * 4  # mean and deviation of both LayerNorms
    weights = 2 * sum(  # copies in bfloat16
        p.numel() for n, p in block.named_parameters() if 'norm' not in n
    )
    biases = 2 * (3 + 1 + 4 + 1) * width  # not needed for the backward pass
    assert weights - biases <= kept - 2 * tokens * per_token <= weights


def test_views_count_once_and_deleted_tensors_not(live_bytes):
    with live_bytes.LiveBytes() as live:
        x = torch.zeros(10, 10)
        y = x[2:].T.reshape(-1, 2, 5)[0]
        assert live.now == live.peak == 400 + 4 * 80
        del x
        assert live.now == 320
        live.reset_peak()
        assert live.peak == 320
        assert y.shape == (2, 5)


def encoder(**options) -> BIMMVisionTransformer:
    torch.manual_seed(0)
    arch = dict(embed_dims=96, depth=2, num_heads=3)
    return BIMMVisionTransformer(
        arch, img_size=128, with_cls_token=False, out_type='avg', **options
    )


def run_step(memory, model) -> None:
    optimizer = memory.make_optimizer(model)
    for _ in range(2):
        x = torch.rand(2, 3, 128, 128)
        memory.step(model, optimizer, x)


@pytest.mark.parametrize(
    'options',
    [dict(), dict(with_cp=True), dict(window_size=4, global_blocks=[1])],
    ids=['plain', 'with_cp', 'windows'],
)
def test_peak_is_that_of_the_allocator(memory, live_bytes, options):
    """Counted without memory, and the real step as PyTorch allocates it."""
    with live_bytes.fake_tensors(), live_bytes.LiveBytes() as live:
        run_step(memory, encoder(**options))
    run_step(memory, encoder(**options))  # whatever is made once
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True
    ) as found:
        run_step(memory, encoder(**options))
    assert live.peak == pytest.approx(allocated(found), rel=0.05)


def allocated(found: profile) -> int:
    """The most bytes that were allocated at once since the start."""
    now, most = 0, 0
    stack = list(found.profiler.kineto_results.experimental_event_tree())
    events = []
    while stack:
        event = stack.pop()
        stack.extend(event.children)
        if event.name == '[memory]':
            events.append(event)
    for event in sorted(events, key=lambda event: event.start_time_ns):
        now += event.extra_fields.alloc_size
        most = max(most, now)
    return most


def chosen(memory, name):
    (case,) = [case for case in memory.CASES if case.name == name]
    return case


def test_coco_at_1024_pixels_fits_24_gib(memory):
    """The whole Mask R-CNN, two pictures a GPU, with 3 GiB to spare."""
    name = 'COCO, Mask R-CNN'
    plain = memory.count(chosen(memory, name), 2)
    saving = memory.count(chosen(memory, f'{name}, with_cp'), 2)
    assert saving.peak < plain.peak < 21 * GIB
    assert saving.saved < plain.saved / 2
    assert saving.fixed == plain.fixed
    # 108.75 million weights of encoder, pyramid and heads, two moments each.
    assert plain.fixed == pytest.approx(12 * 108.75e6, rel=1e-3)


def test_inputs_cost_the_same_each(memory):
    case = chosen(memory, 'COCO, encoder alone, windows')
    two, four, eight = (memory.count(case, n) for n in (2, 4, 8))
    assert four.fixed == two.fixed
    first, second = four.saved - two.saved, eight.saved - four.saved
    assert second == pytest.approx(2 * first, rel=1e-3)
    # 4096 tokens, 12 blocks, at least the 34 bytes x width of a block.
    assert first / 2 >= 4096 * 12 * 34 * 768


def test_stored_scores_cost_the_square_of_the_tokens(memory):
    names = ('global', 'global, scores stored', 'windows, scores stored')
    fused, square, windows = (
        memory.count(chosen(memory, f'COCO, encoder alone, {name}'), 1).saved
        for name in names
    )
    # The probabilities of 12 heads, 2 bytes each, in all of 12 blocks.
    scores = 2 * 12 * 4096**2
    assert square - fused >= 12 * scores
    # In windows of 256 tokens 8 of 12 blocks have a sixteenth of it.
    assert windows - fused < (4 + 8 / 16 + 1) / 12 * (square - fused)


def test_nothing_fake_is_left_behind(memory):
    case = chosen(memory, 'COCO, encoder alone, windows')
    memory.count(case, 1)
    model = encoder()
    assert model(torch.rand(1, 3, 128, 128))[0].isfinite().all()
    table = position_table((1, 8, 8), 96, video=False)
    assert type(table) is torch.Tensor


def test_every_benchmark_can_be_counted(memory):
    """One step of the smallest size that each family allows."""
    families = {case.config: case for case in memory.CASES}
    assert len({Path(config).parent for config in families}) == 6
    for case in families.values():
        found = memory.count(case, 2)
        assert 0 < found.saved < found.peak - found.fixed
        assert memory.batches(case, None)[-1] >= 2


def test_repeated_augmentation_is_counted(memory):
    case = chosen(memory, 'K400, ViT-B')
    assert memory.batches(case, None) == (16, 32)  # 16 videos, two clips each
    case = chosen(memory, 'IN-1K, ViT-B')
    assert memory.batches(case, None) == (64, 128)


def test_most_inputs_that_fit(memory):
    # 100 bytes and 10 each: 20 fit 300 bytes exactly.
    assert memory.most_inputs((2, 120), (4, 140), 300) == 20
    assert memory.most_inputs((2, 120), (4, 140), 299) == 19
    assert memory.most_inputs((2, 120), (4, 140), 50) == 0


def test_what_a_gpu_cannot_hold_is_left_out(memory, capsys):
    def run(case, inputs):
        if inputs > 4:
            raise torch.OutOfMemoryError
        return memory.Bytes(GIB, inputs * GIB, (1 + inputs) * GIB)

    case = chosen(memory, 'IN-1K, ViT-B')
    for sizes, most in ((2, 4, 8), '9'), ((4, 8), ''):
        found = memory.run_all(case, sizes, run)
        assert 'ViT-B, 8: out of memory' in capsys.readouterr().err
        *_, row = memory.table([(case, found)], 10 * GIB).splitlines()
        cells = f'| {case.name} | 4 | 1.00 | 4.00 | 5.00 | {most} |'
        assert row == cells


def run(memory, monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['memory.py', *map(str, arguments)])
    memory.main()


def test_table_and_json(memory, monkeypatch, capsys, tmp_path):
    path = tmp_path / 'out.json'
    arguments = ('in-1k', '--batch', 2, 4, '--json', path)
    run(memory, monkeypatch, *arguments)
    out = capsys.readouterr().out
    assert 'counted, not measured' in out
    (row,) = [line for line in out.splitlines() if '| 4 |' in line]
    content = json.loads(path.read_text())
    assert content['how'] == 'counted, not measured'
    (found,) = content['bytes'].values()
    case = chosen(memory, 'IN-1K, ViT-B')
    expected = memory.count(case, 4)
    assert found['4']['peak'] == expected.peak
    assert f'| {expected.peak / GIB:.2f} |' in row


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['cocoo'], 'no case is named'),
        (['coco', '--batch', '0'], '--batch'),
        (['coco', '--batch', '2', '2'], '--batch'),
        pytest.param(
            ['coco', '--measure'],
            'needs a GPU',
            marks=pytest.mark.skipif(
                torch.cuda.is_available(), reason='there is one'
            ),
        ),
    ],
)
def test_wrong_arguments_are_told(
    memory, monkeypatch, capsys, arguments, message
):
    with pytest.raises(SystemExit):
        run(memory, monkeypatch, *arguments)
    assert message in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_counted_is_close_to_measured(memory):
    case = chosen(memory, 'COCO, encoder alone, windows, with_cp')
    counted, measured = memory.count(case, 2), memory.measure(case, 2)
    assert counted.fixed == pytest.approx(measured.fixed, rel=0.02)
    assert counted.peak == pytest.approx(measured.peak, rel=0.15)
