"""Codes as target, and RGB differences beside them."""

from __future__ import annotations

import math

import pytest
import torch

from bimm_mm.targets import CodeTarget

pytestmark = pytest.mark.usefixtures('one_thread')

PATCH = (2, 16, 16)
TOKENIZER = dict(
    type='bimm_mm.VQGANTokenizer',
    checkpoint=None,
    num_codes=8,
    code_dims=4,
    ch=32,
    ch_mult=(1, 1, 1, 1, 1),
    num_res_blocks=1,
    z_channels=4,
)


@pytest.fixture(params=['first', 'all'])
def target(request) -> CodeTarget:
    return CodeTarget(TOKENIZER, frames=request.param)


def frame_codes(target, clip) -> torch.Tensor:
    """(B, T, h, w), one picture at a time."""
    return torch.stack(
        [
            torch.cat(
                [
                    target.tokenizer(sample[:, t][None])
                    for t in range(sample.shape[1])
                ]
            )
            for sample in clip.pixels
        ]
    )


def test_one_code_per_token_and_frame(target, clip):
    codes = frame_codes(target, clip)
    tokens = target(clip, PATCH)
    count = 1 if target.frames == 'first' else 2
    assert tokens.shape == (2, 2 * 6 * 6, count)
    assert tokens.dtype == torch.int64
    assert target.out_channels(PATCH) == 8 * count
    assert len(codes.unique()) > 2
    for slot in range(2):
        for row in range(6):
            for column in range(6):
                token = (slot * 6 + row) * 6 + column
                wanted = codes[:, 2 * slot : 2 * slot + count, row, column]
                assert torch.equal(tokens[:, token], wanted)
    assert torch.equal(target.maps(clip)[:, 0], codes)


def test_several_codes_per_token_where_the_stride_is_smaller(clip):
    small = dict(TOKENIZER, ch_mult=(1, 1, 1, 1))
    target = CodeTarget(small, frames='first')
    tokens = target(clip, PATCH)
    assert tokens.shape == (2, 72, 4)
    codes = frame_codes(target, clip)[:, ::2]
    wanted = codes[:, 1, 2:4, 4:6].flatten(1)
    assert torch.equal(tokens[:, 36 + 6 + 2], wanted)


def test_loss_is_cross_entropy_and_accuracy_counts(target):
    torch.manual_seed(0)
    count = 1 if target.frames == 'first' else 2
    prediction = torch.randn(2, 5, 8 * count)
    codes = torch.randint(8, (2, 5, count))
    total, right = 0.0, 0
    for sample in range(2):
        for token in range(5):
            for place in range(count):
                scores = prediction[sample, token, 8 * place : 8 * place + 8]
                code = int(codes[sample, token, place])
                total += float(scores.exp().sum().log() - scores[code])
                right += int(scores.argmax()) == code
    loss = target.loss(prediction, codes)
    assert float(loss) == pytest.approx(total / (10 * count), rel=1e-5)
    figures = target.metrics(prediction, codes)
    assert list(figures) == ['accuracy']
    accuracy = float(figures['accuracy'])
    assert accuracy == pytest.approx(right / (10 * count))
    flat = target.loss(torch.zeros_like(prediction), codes)
    assert float(flat) == pytest.approx(math.log(8), rel=1e-6)


def test_loss_is_fp32_under_autocast(target):
    prediction = torch.randn(2, 5, target.out_channels(PATCH)).bfloat16()
    codes = torch.zeros(
        2, 5, target.out_channels(PATCH) // 8, dtype=torch.int64
    )
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert target.loss(prediction, codes).dtype == torch.float32


def test_picture_shows_each_code_in_its_color(target, clip):
    tokens = target.raw(clip, PATCH)
    picture = target.visualize(tokens, PATCH, clip.size)
    assert picture.shape == (2, 4, 96, 96, 3)
    colors = target.tokenizer.colors()
    count = tokens.shape[2]
    for slot, frame in ((0, 0), (0, 1), (1, 2), (1, 3)):
        for row, column in ((0, 0), (2, 5)):
            token = (slot * 6 + row) * 6 + column
            code = tokens[:, token, frame % 2 if count == 2 else 0]
            patch = picture[
                :,
                frame,
                16 * row : 16 * row + 16,
                16 * column : 16 * column + 16,
            ]
            wanted = colors[code][:, None, None].expand_as(patch)
            assert torch.equal(patch, wanted)


def test_what_cannot_be():
    with pytest.raises(ValueError, match=r'16 x 16.*\(2, 8, 8\)'):
        CodeTarget(TOKENIZER).out_channels((2, 8, 8))
    with pytest.raises(ValueError, match=r"frames='last'.*first"):
        CodeTarget(TOKENIZER, frames='last')
